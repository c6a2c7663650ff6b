"""What the tail input takes."""

from dataclasses import dataclass

from agent.engine.config import BOOLEAN, COMMA_LIST, INTEGER, SIZE, STRING, TIME, included, option
from agent.engine.database import DatabaseOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class TailConfig:
    """Times are seconds, sizes bytes."""

    path: tuple[str, ...] = option(
        COMMA_LIST, (), required=True, help="files to follow: names with wildcards, by commas"
    )
    exclude_path: tuple[str, ...] = option(COMMA_LIST, (), help="patterns of files to leave out")
    key: str = option(STRING, "log", help="key that holds a line which no parser took apart")
    read_from_head: bool = option(BOOLEAN, False, help="whether files found at the start are read from their beginning")
    read_newly_discovered_files_from_head: bool = option(
        BOOLEAN, True, help="whether files found later are read from their beginning"
    )
    refresh_interval: float = option(TIME, 60, help="how often to look for new files")
    progress_check_interval: float = option(TIME, 2, help="how often to look for changes that nobody told of")
    rotate_wait: float = option(TIME, 5, help="how long a rotated file is followed further")
    path_key: str | None = option(STRING, help="key for the name of the file")
    offset_key: str | None = option(STRING, help="key for the position of the line in the file")
    ignore_older: float = option(TIME, 0, help="leave out files that nobody wrote to for so long; 0 means none")
    buffer_chunk_size: int = option(SIZE, 32768, help="taken; how much is read at a time does not depend on it")
    buffer_max_size: int = option(SIZE, 32768, help="longest line")
    skip_long_lines: bool = option(BOOLEAN, False, help="leave out longer lines instead of giving the file up")
    truncate_long_lines: bool = option(BOOLEAN, False, help="cut longer lines instead of giving the file up")
    skip_empty_lines: bool = option(BOOLEAN, False, help="leave out empty lines")
    exit_on_eof: bool = option(BOOLEAN, False, help="stop the engine when all files are read to their end")
    parser: str | None = option(STRING, help="parser for each line")
    multiline_parser: tuple[str, ...] = option(
        COMMA_LIST,
        (),
        name="multiline.parser",
        help="multi-line parsers to try: docker, cri, java, python, go, ruby, own",
    )
    tag_regex: str | None = option(STRING, help="expression whose groups, taken from the file's name, make the tag")
    db: str | None = option(STRING, help="offset database, so that a restart goes on where the last run ended")
    db_compare_filename: bool = option(
        BOOLEAN, False, name="db.compare_filename", help="know a file by its name, too, not by its inode alone"
    )
    database: DatabaseOptions = included(DatabaseOptions)
    inotify_watcher: bool = option(BOOLEAN, True, help="be told of changes by the kernel; off: look for them")
    # Taken, without effect here.
    watcher_interval: float = option(TIME, 2, help="taken; has no effect")
    progress_check_interval_nsec: int = option(INTEGER, 0, help="taken; has no effect")
    static_batch_size: int = option(SIZE, 50_000_000, help="taken; has no effect")
    event_batch_size: int = option(SIZE, 50_000_000, help="taken; has no effect")
    file_cache_advise: bool = option(BOOLEAN, True, help="taken; has no effect")


REFUSED = (
    "docker_mode",
    "docker_mode_flush",
    "docker_mode_parser",
    "ignore_active_older_files",
    "multiline",
    "multiline_flush",
    "parser_firstline",
    "parser_1",
    "unicode.encoding",
    "generic.encoding",
)

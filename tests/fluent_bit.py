"""The real Fluent Bit, where one is given: by FLUENT_BIT_BIN, or as `fluent-bit` on PATH."""

from __future__ import annotations

import os
import shutil

import pytest

FLUENT_BIT = os.environ.get("FLUENT_BIT_BIN") or shutil.which("fluent-bit") or ""
"""Its path; empty where there is none."""

needs_fluent_bit = pytest.mark.skipif(not FLUENT_BIT, reason="no Fluent Bit: name one by FLUENT_BIT_BIN")

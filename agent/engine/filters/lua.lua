-- The half of the lua filter that runs in Lua: takes a batch as JSON, calls the user's function for each record, gives
-- back what it made of them as JSON. Crossing between Python and Lua costs far more than the text does.
--
-- Values follow Fluent Bit: tables that came from a record carry a metatable whose `type` says array or map, so that an
-- empty list stays one; other tables are arrays when they have a positive whole index.

local byte, char, find, format, gsub, sub = string.byte, string.char, string.find, string.format, string.gsub, string.sub
local concat, maxn, modf = table.concat, table.maxn, math.modf
local floor, huge, select, setmetatable, tonumber, tostring, type =
  math.floor, math.huge, select, setmetatable, tonumber, tostring, type
local getmetatable, pairs, parameters = getmetatable, pairs, debug.getinfo

local has_new, new_table = pcall(require, 'table.new') -- LuaJIT's own
new_table = has_new and new_table

local ARRAY, MAP = 1, 2
local array_mark, map_mark = {type = ARRAY}, {type = MAP}

local null -- what a null becomes: nothing, or the value of flb_null
local whole_keys, array_keys = {}, {}

local ESCAPED = {['"'] = '"', ['\\'] = '\\', ['/'] = '/', b = '\b', f = '\f', n = '\n', r = '\r', t = '\t'}
local ESCAPES = {['"'] = '\\"', ['\\'] = '\\\\', ['\n'] = '\\n', ['\r'] = '\\r', ['\t'] = '\\t'}
for code = 0, 31 do
  ESCAPES[char(code)] = ESCAPES[char(code)] or format('\\u%04x', code)
end

-- JSON to values. The text is our own and well-formed: compact, with \u only for control characters.
-- LuaJIT compiles plain searches and bytes, not patterns.

local has_escapes -- whether the text that is decoded has any

local function decode_string(text, at)
  if not has_escapes then
    local stop = find(text, '"', at, true)
    return sub(text, at, stop - 1), stop + 1
  end
  local stop = find(text, '["\\]', at)
  if byte(text, stop) == 34 then
    return sub(text, at, stop - 1), stop + 1
  end
  local parts = {}
  while byte(text, stop) ~= 34 do
    local kind = sub(text, stop + 1, stop + 1)
    parts[#parts + 1] = sub(text, at, stop - 1)
    if kind == 'u' then
      parts[#parts + 1] = char(tonumber(sub(text, stop + 2, stop + 5), 16))
      at = stop + 6
    else
      parts[#parts + 1] = ESCAPED[kind]
      at = stop + 2
    end
    stop = find(text, '["\\]', at)
  end
  parts[#parts + 1] = sub(text, at, stop - 1)
  return concat(parts), stop + 1
end

local decode

local function decode_map(text, at)
  local map, key = {}, nil
  if byte(text, at) == 125 then
    return setmetatable(map, map_mark), at + 1
  end
  repeat
    key, at = decode_string(text, at + 1)
    map[key], at = decode(text, at + 1)
    at = at + 1
  until byte(text, at - 1) == 125
  return setmetatable(map, map_mark), at
end

local function decode_array(text, at)
  local array, count, has_hole = {}, 0, false
  if byte(text, at) == 93 then
    return setmetatable(array, array_mark), at + 1
  end
  repeat
    count = count + 1
    array[count], at = decode(text, at)
    has_hole = has_hole or array[count] == nil
    at = at + 1
  until byte(text, at - 1) == 93
  if has_hole and new_table then -- room for all of them keeps the length that the list came with
    local roomy = new_table(count, 0)
    for index = 1, count do
      roomy[index] = array[index]
    end
    array = roomy
  end
  return setmetatable(array, array_mark), at
end

function decode(text, at)
  local first = byte(text, at)
  if first == 34 then
    return decode_string(text, at + 1)
  elseif first == 123 then
    return decode_map(text, at + 1)
  elseif first == 91 then
    return decode_array(text, at + 1)
  elseif first == 116 then
    return true, at + 4
  elseif first == 102 then
    return false, at + 5
  elseif first == 110 then
    return null, at + 4
  end
  local stop, next_byte = at, first
  while next_byte and next_byte ~= 44 and next_byte ~= 93 and next_byte ~= 125 do
    stop = stop + 1
    next_byte = byte(text, stop)
  end
  return tonumber(sub(text, at, stop - 1)), stop
end

local function decode_text(text)
  has_escapes = find(text, '\\', 1, true) ~= nil
  local value = decode(text, 1)
  return value
end

-- Values to JSON, as a list of pieces.

local encode

local function encode_string(text)
  if find(text, '[%z\1-\31"\\]') then
    text = gsub(text, '[%z\1-\31"\\]', ESCAPES)
  end
  return '"' .. text .. '"'
end

local function encode_number(number)
  if number ~= number or number == huge or number == -huge then
    return 'null'
  elseif number == floor(number) and number >= -2 ^ 63 and number < 2 ^ 63 then
    return format('%.0f', number)
  end
  local text = format('%.17g', number)
  return find(text, '[.e]') and text or text .. '.0'
end

local function encode_array(array, length, out)
  out[#out + 1] = '['
  for index = 1, length do
    if index > 1 then
      out[#out + 1] = ','
    end
    encode(array[index], out)
  end
  out[#out + 1] = ']'
end

local function begins_one(names, key)
  for index = 1, #names do
    local name = names[index]
    if sub(name, 1, #key) == key then -- Fluent Bit compares as many bytes as the record's key has
      return true
    end
  end
  return false
end

local known_keys = {} -- key -> how it is written, of one batch

local function encode_key(key)
  local text = encode_string(tostring(key)) .. ':'
  known_keys[key] = text
  return text
end

local function encode_map(map, out)
  local before = '{'
  for key, value in pairs(map) do
    out[#out + 1] = before
    out[#out + 1] = known_keys[key] or encode_key(key)
    if type(value) == 'number' and type(key) == 'string' and begins_one(whole_keys, key) then
      out[#out + 1] = encode_number((modf(value)))
    elseif type(value) == 'table' and type(key) == 'string' and begins_one(array_keys, key) then
      encode_array(value, #value, out)
    else
      encode(value, out)
    end
    before = ','
  end
  out[#out + 1] = before == '{' and '{}' or '}'
end

function encode(value, out)
  local kind = type(value)
  if kind == 'string' then
    out[#out + 1] = encode_string(value)
  elseif kind == 'number' then
    out[#out + 1] = encode_number(value)
  elseif kind == 'boolean' then
    out[#out + 1] = tostring(value)
  elseif kind == 'table' then
    local mark = getmetatable(value)
    local shape = type(mark) == 'table' and rawget(mark, 'type') or nil
    if type(shape) == 'number' then
      if shape == ARRAY then
        encode_array(value, #value, out)
      else
        encode_map(value, out)
      end
    else
      local length = maxn(value)
      if length > 0 then
        encode_array(value, length, out)
      else
        encode_map(value, out)
      end
    end
  else
    out[#out + 1] = 'null'
  end
end

local function split_time(seconds)
  local whole, rest = modf(tonumber(seconds) or 0)
  return whole, floor(rest * 1e9)
end

-- The bridge: `configure` once, `run` for each batch.

local function configure(nulls, whole, array)
  flb_null = nulls and python.none or nil
  null = flb_null
  python, package.loaded.python = nil, nil -- the script has no business in the engine
  whole_keys, array_keys = decode_text(whole), decode_text(array)
end

-- Each result is [number of the record, code, seconds, nanoseconds, what it became, its metadata or null]; what is
-- dropped has none.
local function run(name, time_as_table, tag, times, records, metadata)
  local call = _G[name]
  local wants_metadata = (parameters(call, 'u').nparams or 3) >= 5
  times, records = decode_text(times), decode_text(records)
  metadata = wants_metadata and decode_text(metadata) or {}
  known_keys = {}
  local out, before = {}, '['
  for number = 1, #records do
    local seconds, nanoseconds = times[2 * number - 1], times[2 * number]
    local when = time_as_table and {sec = seconds, nsec = nanoseconds} or seconds + nanoseconds / 1e9
    local code, later, result, about
    if wants_metadata then
      code, later, about, result = call(tag, when, {}, metadata[number] or {}, records[number])
    else
      code, later, result = call(tag, when, records[number])
    end
    code = tonumber(code) or 0
    if time_as_table and type(later) == 'table' then
      seconds, nanoseconds = tonumber(later.sec) or 0, tonumber(later.nsec) or 0
    elseif not time_as_table and code == 1 then
      seconds, nanoseconds = split_time(later)
    end
    if code ~= -1 then
      out[#out + 1] = before
      out[#out + 1] = format('[%d,%d,%.0f,%.0f,', number - 1, code, seconds, nanoseconds)
      encode((code == 1 or code == 2) and result or nil, out)
      out[#out + 1] = ','
      encode(type(about) == 'table' and about or nil, out)
      out[#out + 1] = ']'
      before = ','
    end
  end
  out[#out + 1] = before == '[' and '[]' or ']'
  return concat(out)
end

return configure, run

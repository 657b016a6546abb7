"""What the store does of itself, so that looking and taking are one step.

A limit has up to two keys: `:u`, the microsecond at which its period is whole again, and
`:h`, what each gateway holds of it. What a gateway holds counts while its `alive:` key
is there. All keys have one hash tag, so that a cluster keeps them together. The time is
the store's own.
"""

from services.gateway.limits.meters import LONGEST_DEBT_S

PREFIX = "tocsin:{limits}:"
LEASE_MS = 10_000
_LONGEST_DEBT_US = round(LONGEST_DEBT_S * 1e6)
_HELD_MS = 3_600_000

ADMIT = f"""
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local source = ARGV[1]
local function held(key)
  local total = 0
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    if all[i] == source or redis.call('EXISTS', '{PREFIX}alive:' .. all[i]) == 1 then
      total = total + tonumber(all[i + 1])
    else
      redis.call('HDEL', key, all[i])
    end
  end
  return total
end
local reply = {{0, 0}}
local full = {{}}
for i = 1, #KEYS do
  local at = 2 + (i - 1) * 4
  local kind, limit = ARGV[at], tonumber(ARGV[at + 1])
  local period, amount = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local wait = 0
  full[i] = now
  if kind == 'streams' then
    if held(KEYS[i] .. ':h') + amount > limit then wait = 1000000 end
  else
    full[i] = math.max(now, tonumber(redis.call('GET', KEYS[i] .. ':u') or '0'))
    local taken = amount
    if kind == 'tokens' then taken = taken + held(KEYS[i] .. ':h') end
    wait = full[i] - now + taken * period / limit - period
  end
  if wait > 1 and reply[1] == 0 then
    reply[1] = i
    reply[2] = math.ceil(wait)
  end
end
for i = 1, #KEYS do
  local at = 2 + (i - 1) * 4
  local kind, limit = ARGV[at], tonumber(ARGV[at + 1])
  local period, amount = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  if reply[1] == 0 then
    if kind == 'requests' then
      full[i] = full[i] + amount * period / limit
      redis.call('SET', KEYS[i] .. ':u', string.format('%.0f', full[i]),
        'PX', string.format('%.0f', (full[i] - now) / 1000 + 1000))
    else
      redis.call('HINCRBYFLOAT', KEYS[i] .. ':h', source, amount)
      redis.call('PEXPIRE', KEYS[i] .. ':h', {_HELD_MS})
    end
  end
  reply[i + 2] = math.floor(full[i] - now)
end
return reply
"""

SETTLE = f"""
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local source = ARGV[1]
for i = 1, #KEYS do
  local at = 2 + (i - 1) * 4
  local limit, period = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local amount, used = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  if redis.call('HEXISTS', KEYS[i] .. ':h', source) == 1 then
    local left = tonumber(redis.call('HINCRBYFLOAT', KEYS[i] .. ':h', source, -amount))
    if left <= 0 then redis.call('HDEL', KEYS[i] .. ':h', source) end
  end
  if used ~= 0 then
    local full = math.max(now, tonumber(redis.call('GET', KEYS[i] .. ':u') or '0'))
    full = math.max(now, math.min(full + used * period / limit, now + {_LONGEST_DEBT_US}))
    redis.call('SET', KEYS[i] .. ':u', string.format('%.0f', full),
      'PX', string.format('%.0f', (full - now) / 1000 + 1000))
  end
end
return 0
"""

HOLD = f"""
for i = 1, #KEYS do
  if tonumber(ARGV[i + 1]) > 0 then
    redis.call('HSET', KEYS[i] .. ':h', ARGV[1], ARGV[i + 1])
    redis.call('PEXPIRE', KEYS[i] .. ':h', {_HELD_MS})
  else
    redis.call('HDEL', KEYS[i] .. ':h', ARGV[1])
  end
end
redis.call('SET', '{PREFIX}alive:' .. ARGV[1], 1, 'PX', {LEASE_MS})
return 0
"""
"""The sign of life, with what a gateway holds of the limits of which that is not sure."""

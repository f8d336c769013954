-- Holds a request while its app is booting or idle, within bounds; of an idle one it tells control.
-- The map from app id to SLOT|MODE|CHANNEL|PAGE|PAGE|DYNO|OPTIONS is the configuration's own: commands change both.
local apps = Map.new("{{apps}}", Map._str)
local hold_ms = {{hold_ms}}
local waker = "{{waker}}"

-- A request may be gone at each wait, so nothing here is counted up and down: it is counted anew in
-- each window of 100 ms.
local window, looks, pokes = 0, 0, 0
local POKES_MAX = 50
-- By app id, when control may be told again. Told is enough once; if nothing comes of it, again.
local told = {}
local AGAIN_MS, TOLD_MS = 250, 5000

local function now_ms()
  local now = core.now()
  return now.sec * 1000 + now.usec // 1000
end

local function count(now)
  if now // 100 ~= window then window, looks, pokes = now // 100, 0, 0 end
end

-- Often at first, when a dyno is likely to come up; seldom later, or where many are waiting.
local function pause_ms(waited_ms)
  local crowd = looks // 10
  if waited_ms < 2000 then return math.min(250, 20 + crowd) end
  if waited_ms < 10000 then return math.min(250, 100 + crowd) end
  return 250
end

local function poke(app)
  local now = now_ms()
  count(now)
  if waker == "" or now < (told[app] or 0) or pokes >= POKES_MAX then return end
  pokes = pokes + 1
  told[app] = now + AGAIN_MS
  local door = core.tcp()
  door:settimeout(1)
  if door:connect("abns@" .. waker) and door:send(app .. "\n") then
    if door:receive("*l") == "ok" then told[app] = now + TOLD_MS end
  end
  door:close()
end

-- A worker that ends sees no change any more: the newest one holds the request from here on.
local function ends(txn)
  local stopping = txn.f:stopping()
  return "{{onward}}" ~= "" and stopping and stopping ~= 0
end

local function is(route, mode)
  return route:find("|" .. mode .. "|", 1, true) ~= nil
end

core.register_action("hold", { "http-req" }, function(txn)
  local app = txn:get_var("txn.app")
  local route = txn:get_var("txn.route")
  -- Elsewhere, where another worker has handed it over.
  local begun = txn:get_var("txn.t0") or now_ms()
  -- Where its client leaves, this function ends in the middle of a wait: what stands there counts.
  txn:set_var("txn.route", (route:gsub("|%a+|", "|left|", 1)))
  while true do
    if ends(txn) then return end
    if is(route, "idle") then poke(app) end
    local waited_ms = now_ms() - begun
    if waited_ms >= hold_ms then
      txn:set_var("txn.route", route)
      return
    end
    count(now_ms())
    looks = looks + 1
    core.msleep(math.min(pause_ms(waited_ms), hold_ms - waited_ms + 1))
    route = apps:lookup(app)
    if route == nil then
      txn:set_var("txn.route", "|unknown|")
      return
    end
    if not is(route, "idle") then
      told[app] = nil
      if not is(route, "booting") then
        txn:set_var("txn.route", route)
        return
      end
    end
  end
end)

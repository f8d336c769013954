-- Holds a request while its app is booting, within bounds.
-- The map from app id to SLOT|MODE|CHANNEL|PAGE|PAGE|DYNO|EDGE is the configuration's own: commands change both.
local apps = Map.new("{{apps}}", Map._str)
local hold_ms = {{hold_ms}}

-- Often at first, when a dyno is likely to come up; seldom later, when many may be waiting.
local function pause_ms(waited_ms)
  if waited_ms < 2000 then return 20 end
  if waited_ms < 10000 then return 100 end
  return 250
end

core.register_action("hold", { "http-req" }, function(txn)
  local app = txn:get_var("txn.app")
  local waited_ms = 0
  while waited_ms < hold_ms do
    local pause = pause_ms(waited_ms)
    core.msleep(pause)
    waited_ms = waited_ms + pause
    local route = apps:lookup(app)
    if route == nil then
      txn:set_var("txn.route", "|unknown|")
      return
    end
    if not route:find("|booting|", 1, true) then
      txn:set_var("txn.route", route)
      return
    end
  end
end)

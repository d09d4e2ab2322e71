-- Asks for one host after the other, far from the last one, so that no cache of a few routes helps.
local asks, count, at = {}, 0, 0

function init(args)
  count = tonumber(args[1])
  for i = 0, count - 1 do
    asks[i] = "GET / HTTP/1.1\r\nHost: h" .. i .. ".bench.test\r\n\r\n"
  end
end

function request()
  at = (at + 7919) % count
  return asks[at]
end

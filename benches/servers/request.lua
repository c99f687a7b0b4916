-- One request again and again. BENCH_TOKEN, BENCH_PATH, BENCH_METHOD (GET), BENCH_BODY; with BENCH_COUNT, each ID in the path
-- is a number from 1 to that, at random.
local path, body = os.getenv("BENCH_PATH"), os.getenv("BENCH_BODY")
local count = tonumber(os.getenv("BENCH_COUNT") or "0")
function init()
  wrk.method = os.getenv("BENCH_METHOD") or "GET"
  wrk.headers["X-Auth-Token"] = os.getenv("BENCH_TOKEN")
  if body then
    wrk.body = body
    wrk.headers["Content-Type"] = "application/json"
  end
end
function request()
  if count == 0 then return wrk.format(nil, path) end
  return wrk.format(nil, (path:gsub("ID", tostring(math.random(1, count)))))
end
function done(summary, latency)
  io.write(string.format("result %d %d %.3f %.3f %d\n", summary.requests, summary.duration,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    summary.errors.status + summary.errors.read + summary.errors.write + summary.errors.connect + summary.errors.timeout))
end

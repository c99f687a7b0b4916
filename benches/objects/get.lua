-- Reads objects at random. BENCH_TOKEN, BENCH_PATH, BENCH_PREFIX, BENCH_COUNT; without a prefix always the same path.
local path, prefix = os.getenv("BENCH_PATH"), os.getenv("BENCH_PREFIX")
local count = tonumber(os.getenv("BENCH_COUNT") or "1")
function init()
  wrk.headers["X-Auth-Token"] = os.getenv("BENCH_TOKEN")
end
function request()
  if not prefix then return wrk.format("GET", path) end
  -- The first name is made and not stored: wrk tries a request out before it begins.
  return wrk.format("GET", string.format("%s/%s0-%08d", path, prefix, math.random(2, count)))
end
function done(summary, latency)
  io.write(string.format("result %d %d %.3f %.3f %d\n", summary.requests, summary.duration,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    summary.errors.status + summary.errors.read + summary.errors.write + summary.errors.connect + summary.errors.timeout))
end

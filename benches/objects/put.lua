-- Stores objects of one size under new names. BENCH_TOKEN, BENCH_PATH, BENCH_BYTES, BENCH_PREFIX.
local body = string.rep("0123456789abcdef", tonumber(os.getenv("BENCH_BYTES")) / 16)
local path = os.getenv("BENCH_PATH") .. "/" .. os.getenv("BENCH_PREFIX")
local threads = 0
function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end
local n = 0
function init()
  wrk.method = "PUT"
  wrk.body = body
  wrk.headers["X-Auth-Token"] = os.getenv("BENCH_TOKEN")
  wrk.headers["Content-Type"] = "application/octet-stream"
end
function request()
  n = n + 1
  return wrk.format(nil, string.format("%s%d-%08d", path, id, n))
end
function done(summary, latency)
  io.write(string.format("result %d %d %.3f %.3f %d\n", summary.requests, summary.duration,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    summary.errors.status + summary.errors.read + summary.errors.write + summary.errors.connect + summary.errors.timeout))
end

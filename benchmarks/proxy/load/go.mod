module tsukimi/benchmarks/proxy/load

go 1.21

package api

// Version names a build.
type Version struct {
	// Version is the release, or what the source tree was called when it was built.
	Version string `json:"version"`
	// Go is the toolchain that built it.
	Go string `json:"go"`
	// API is the first element of every path on the control socket.
	API string `json:"api"`
}

// Prefix is the first element of every path on the control socket.
const Prefix = "/v1"

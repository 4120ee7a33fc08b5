// Package api holds the plain values that the command line, the control socket
// and the daemon exchange. Their JSON form is a promise: fields may be added,
// none is renamed, removed or given another meaning. docs/api.schema.json
// states it, and a test holds that file against the types here.
//
// Everything in this package is a value without behaviour toward the system:
// what it checks, it checks without looking at the machine. Whether a netns
// exists, an address belongs to the host or an interface name is taken is for
// the daemon to say.
package api

//go:generate go test -run ^TestSchemaIsThatOfTheTypes$ . -update

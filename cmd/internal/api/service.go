package api

import "context"

// Service is what a daemon does for those who ask it. The daemon implements
// it; control.Server carries it over the socket, and control.Client has the
// same methods. All methods may be called from several goroutines at once.
//
// Errors are *Error where the code matters; any other error is CodeFailed.
type Service interface {
	// Status is the daemon and its NIC as they are now.
	Status(ctx context.Context) (Status, error)
	// Ports are all ports, sorted by name.
	Ports(ctx context.Context) ([]Port, error)
	// Add makes ports, all or none, and returns them in the order of specs.
	// The specs are validated and hold their defaults when a Server calls.
	Add(ctx context.Context, specs []PortSpec) ([]Port, error)
	// Set changes one port without losing a frame of it. The patch is not
	// empty; the result of it is for the daemon to validate.
	Set(ctx context.Context, name string, patch Patch) (Port, error)
	// Delete removes ports and what was made for them. If one of the names
	// is unknown, nothing happens and the error is CodeNotFound.
	Delete(ctx context.Context, names []string) error
	// Apply makes the ports what req says, or tells what it would do.
	Apply(ctx context.Context, req ApplyRequest) (ApplyResult, error)
	// Stats are the counters, with those of the named ports, or of all if
	// no name is given. An unknown name is CodeNotFound.
	Stats(ctx context.Context, names []string) (Stats, error)
	// Detach gives the NIC back as it was found and returns what could not be
	// given back, if anything. The daemon ends after it has returned. ctx does
	// not end with the caller's connection.
	Detach(ctx context.Context) error
}

// AddRequest asks for new ports, all or none.
type AddRequest struct {
	// Ports to add, 1 to 65534.
	Ports []PortSpec `json:"ports"`
}

// DeleteRequest asks to remove ports.
type DeleteRequest struct {
	// Names of the ports.
	Names []string `json:"names"`
}

// DeleteResult tells which ports were removed.
type DeleteResult struct {
	// Deleted are their names.
	Deleted []string `json:"deleted"`
}

// PortList is the answer to a list of ports, and to adding some.
type PortList struct {
	// Ports as they are now.
	Ports []Port `json:"ports"`
}

// ApplyRequest asks for exactly these ports.
type ApplyRequest struct {
	// Ports that shall be; what is not among them is removed.
	Ports []PortSpec `json:"ports"`
	// DryRun asks for the result without doing anything.
	DryRun bool `json:"dry_run,omitempty"`
}

// ApplyResult tells what Apply did, or with DryRun would do, by port name.
type ApplyResult struct {
	// Added are new.
	Added []string `json:"added"`
	// Changed kept their interface and every frame.
	Changed []string `json:"changed"`
	// Replaced were removed and made anew, for their interface had to change.
	Replaced []string `json:"replaced"`
	// Removed are gone.
	Removed []string `json:"removed"`
	// Unchanged were right already.
	Unchanged []string `json:"unchanged"`
}

// ErrorReply is the body of every answer that is not a success.
type ErrorReply struct {
	// Error says what failed, why, and what to do.
	Error *Error `json:"error"`
}

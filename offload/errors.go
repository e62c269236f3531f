package offload

import "errors"

// What an Engine may answer. They survive the way through gRPC: errors.Is works
// on both sides.
var (
	// ErrNotFound: no such SA is installed.
	ErrNotFound = errors.New("offload: no such SA")
	// ErrUnsupported: the dataplane lacks the algorithm, mode or call.
	ErrUnsupported = errors.New("offload: not supported by this dataplane")
	// ErrExhausted: no room for another SA.
	ErrExhausted = errors.New("offload: no room for another SA")
	// ErrStaleEpoch: the caller no longer owns the group. Nothing was changed.
	ErrStaleEpoch = errors.New("offload: stale epoch")
	// ErrInvalid: the arguments contradict themselves; the text says which.
	ErrInvalid = errors.New("offload: invalid argument")
	// ErrNotConfigured: Configure has not been called yet.
	ErrNotConfigured = errors.New("offload: not configured")
	// ErrDown: there is no dataplane process to talk to at the moment.
	ErrDown = errors.New("offload: dataplane is down")
)

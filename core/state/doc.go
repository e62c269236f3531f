// Package state keeps the few facts that must outlive the process on disk: how
// often a dataplane was started on this member (invariant I1). Each is a file
// of its own in one directory, replaced as a whole and synced before it counts
// (invariant I3).
package state

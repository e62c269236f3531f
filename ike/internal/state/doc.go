// Package state writes what both versions of IKE keep alike into the messages of
// their snapshots, and reads it from them: addresses, times, selectors, suites and
// limits. A snapshot of another member may be of another release, or broken, so
// reading checks what it narrows and notes what makes no sense.
//
// Times count from the moment of the snapshot, as members' clocks differ.
package state

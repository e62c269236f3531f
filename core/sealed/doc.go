// Package sealed keeps secrets for the next life of a process in a file that only
// the operator's key opens, and that nobody can turn back.
//
// A Store holds values by names, in sets that go together. Write appends changes to
// the file; when it returns, the kernel has them, so the death of the process
// loses nothing. It is not synced: the file is for restarts of a process, and trust in
// it does not outlive the machine.
//
// # The file
//
//	header   "EVGSEAL", the version of the format, generation (8 octets), salt (32)
//	entry    length (4), then AES-256-GCM of stamp, set, name and value
//
// Every life of a process writes a file of its own, with a new salt: the keys are
// made of the operator's key and the salt by HKDF-SHA-256, and the nonce is the
// number of the entry, so no (key, nonce) pair is used twice. Header and number are
// authenticated with each entry. A file that has grown by more than it holds is
// written anew, as another generation.
//
// # Freshness
//
// An older copy of the file would bring back numbers that were used since. So there
// is an anchor, in another directory that does not outlive the machine, such as one
// below /run: generation, salt, how many entries there are, and the kernel's life,
// authenticated with the operator's key. It follows each entry. A file that has less
// than its anchor says, or is not the one that it speaks of, is not opened, nor is
// one without an anchor: StaleError. One entry that was being written when the
// process died may be missing or in parts; nothing had come of it yet.
//
// A Store that could not write removes its anchor: what is missing in the file must
// not be missing unnoticed.
package sealed

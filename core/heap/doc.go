// Package heap keeps the memory of a process close to what it needs.
//
// Go's garbage collector runs when a heap has grown by a share of what was in use
// the last time, and that share is the same whether the process works hard or
// rests. A gateway with very many tunnels has a large heap that hardly changes: at
// the default share it takes twice the memory of its tunnels, for garbage that it
// does not make. So the share follows the work: there is room for what is allocated
// in a few seconds (Span), but never less than LeastPercent of what is in use, and
// never more than Go's default, or half of it for a small heap (SmallHeap), unless that is
// little (AnyRoom, FullRoom). After work its garbage is collected. A small heap gives its
// free memory back to the system then, the runtime does so for a large one by and by: all
// at once would hold the process up for longer than heartbeats may stay away.
//
// The price is bounded as well, because the collector runs no more often than
// that. Where an operator sets GOGC or GOMEMLIMIT in the environment, those are what
// counts, and this package does nothing.
package heap

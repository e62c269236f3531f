package main

// spin does nothing, forever, in a hundred instructions a round: the emulator makes
// one step of them, so the less there is to do the faster the machine's time passes.
func spin()

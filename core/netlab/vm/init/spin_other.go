//go:build !amd64

package main

// spin does nothing, forever.
func spin() {
	for {
	}
}

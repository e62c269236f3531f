// Package config reads the gateway's YAML: Load makes a typed Config of a file,
// or tells all mistakes in it at once. Connections is what the machines want of
// it, and Diff says what a reload has to touch.
//
// The words are FortiOS's, so that an operator can transcribe a configuration
// that works; configs/full-reference.yaml explains every key.
//
// # How a file becomes a Config
//
// Viper reads the file and puts the environment over it. Package yaml parses, and
// hands viper a tree whose leaves are still YAML nodes: so a value keeps its line,
// and its text (a peerid of 007 stays 007), through all of viper's layers. Each
// section is a table of fields; a field is a key and how to set it. What is wrong
// with a value is noted where it is read, what is wrong between values afterwards,
// and nothing stops at the first mistake.
//
// # Environment
//
// EVERGATE_LOG_LEVEL stands for log.level, EVERGATE_STATE_DIR for state-dir, and
// so on for every single value outside of phase1, phase2, dataplane.settings,
// lists and secrets. The environment wins over the file.
//
// # Adding a section
//
// A type with its defaults, a table of fields, and a line in the table of
// sections (config.go). A test then asks for it in configs/full-reference.yaml.
package config

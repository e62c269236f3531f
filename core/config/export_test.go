package config

// Keys are the paths of all keys that a configuration may have; entries of lists
// have no number.
func Keys() []string {
	var keys []string
	for _, f := range sections("") {
		keys = append(keys, f.key)
	}
	keys = append(keys, keysOf("dataplane", dataplaneFields(""))...)
	keys = append(keys, keysOf("phase1", phase1Fields(""))...)
	keys = append(keys, keysOf("phase1.psksecret", secretFields())...)
	keys = append(keys, keysOf("phase1.authpasswd", secretFields())...)
	keys = append(keys, keysOf("phase2", phase2Fields())...)
	keys = append(keys, keysOf("user-local", userFields(""))...)
	keys = append(keys, keysOf("user-local.passwd", secretFields())...)
	keys = append(keys, keysOf("user-group", userGroupFields())...)
	keys = append(keys, keysOf("standalone-cluster", clusterFields(""))...)
	keys = append(keys, keysOf("standalone-cluster.cluster-peers", clusterPeerFields())...)
	keys = append(keys, keysOf("standalone-cluster.secret", secretFields())...)
	keys = append(keys, keysOf("standalone-cluster.sync", clusterSyncFields())...)
	keys = append(keys, keysOf("ha", haFields(""))...)
	keys = append(keys, keysOf("ha.peers", haPeerFields())...)
	keys = append(keys, keysOf("ha.password", secretFields())...)
	keys = append(keys, keysOf("ha.addresses", unitAddressFields())...)
	keys = append(keys, keysOf("bgp", bgpFields(""))...)
	keys = append(keys, keysOf("bgp.neighbors", bgpNeighborFields(""))...)
	keys = append(keys, keysOf("bgp.neighbors.password", secretFields())...)
	keys = append(keys, keysOf("bgp.graceful-shutdown", shutdownFields())...)
	keys = append(keys, keysOf("bgp.announce", announceFields())...)
	keys = append(keys, keysOf("health", healthFields())...)
	keys = append(keys, keysOf("log", logFields())...)
	keys = append(keys, keysOf("state", stateFields(""))...)
	keys = append(keys, keysOf("state.seal-key", secretFields())...)
	keys = append(keys, keysOf("admin", adminFields(""))...)
	return append(keys, keysOf("metrics", metricsFields())...)
}

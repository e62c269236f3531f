// Package field reads and writes protobuf messages field by field, with no
// message in memory between the octets and the vocabulary of package ipsec.
//
// Descriptions of SAs cross two borders, from member to member (ha/wire) and from
// daemon to dataplane (offload/pluginrpc), by the hundred thousand when a member
// joins. A message made for each, with its dozen parts, was a quarter of what that
// cost. The .proto files stay the specification; tests beside both borders hold
// what is written here against the code that is generated from them.
//
// Like all of core/ipsec it stands on the standard library only.
package field

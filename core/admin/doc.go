// Package admin is the operator's way into a running gateway: HTTP with JSON
// over a unix socket, served by evergated and called by the evergate command.
// Who may open the socket may do everything; its mode and group decide.
//
//	GET  /v1/status               diag.Status
//	GET  /v1/tunnels?name=&keys=1 []diag.Tunnel
//	GET  /v1/ike/stats            diag.Stats
//	GET  /v1/dataplane/stats      diag.Stats
//	GET  /v1/ha/peers             diag.StandalonePeers
//	POST /v1/tunnels/NAME/up      initiate a connection
//	POST /v1/tunnels/NAME/down    close a tunnel, or all of a connection
//	POST /v1/tunnels/NAME/rekey   make new keys; ?ike=1 for the IKE SA, else for the children
//	POST /v1/reload               read the configuration again
//
// An error is {"error": "..."} with a 4xx or 5xx status.
package admin

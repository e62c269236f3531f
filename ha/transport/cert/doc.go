// Package cert says who a member of a group is: the certificates that members
// show each other, and how they are made, read and checked.
//
// A member's certificate carries its Name as a URI among the subject
// alternative names, evergate:group/1/member/2, and is issued by an authority
// that the group trusts and, best, nobody else uses. It may also name IP
// addresses: then it is good at these addresses only. Common names and DNS
// names mean nothing here.
//
// # Two ways to be a member
//
// Files: an Authority (evergate ha init-ca) issues one certificate and key per
// member (evergate ha issue); any other PKI that writes the URI does as well.
// The authority's key stays off the gateways, so a stolen member can be itself
// only, and only until its certificate ends or the group changes its authority.
//
// One secret for the group, for small set-ups: FromSecret derives the
// authority from the secret, and each member issues its own certificate when
// it starts. That is weaker by design: who knows the secret can be any member,
// there is no expiry, and to put out one member means to change the secret on
// all others. An impostor who reaches the port gets to see a certificate and
// can search for the secret at leisure, which is why short secrets are refused
// and the derivation is slow.
package cert

package config

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
)

// parseDN reads a distinguished name such as "C=CH, O=Example, CN=gw1", the most
// significant part first as strongSwan and FortiOS write it, and encodes it as
// DER (RFC 7296 section 3.5, ID_DER_ASN1_DN). A backslash takes the next
// character literally.
func parseDN(s string) ([]byte, error) {
	var name pkix.RDNSequence
	for _, part := range splitDN(s) {
		word, text, ok := strings.Cut(part, "=")
		word, text = strings.ToLower(strings.TrimSpace(word)), strings.TrimSpace(text)
		oid := attributeType(word)
		if !ok || oid == nil || text == "" {
			return nil, fmt.Errorf("%q is not part of a distinguished name; want one such as C=CH, O=Example, CN=gw1 (known: C, CN, DC, E, L, O, OU, SERIALNUMBER, ST, UID)", strings.TrimSpace(part))
		}
		name = append(name, pkix.RelativeDistinguishedNameSET{{Type: oid, Value: attributeValue(word, text)}})
	}
	if len(name) == 0 {
		return nil, errors.New("is not a distinguished name, which localid-type: asn1dn asks for")
	}
	return asn1.Marshal(name)
}

// splitDN splits at commas and slashes that no backslash protects, and takes the
// backslashes away.
func splitDN(s string) []string {
	var parts []string
	var part strings.Builder
	literal := false
	for _, r := range s {
		switch {
		case literal:
			part.WriteRune(r)
			literal = false
		case r == '\\':
			literal = true
		case r == ',':
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteRune(r)
		}
	}
	if part.Len() > 0 || len(parts) > 0 {
		parts = append(parts, part.String())
	}
	return parts
}

// attributeType is the object identifier of an attribute's short name, nil for
// an unknown one (RFC 4519 section 2).
func attributeType(word string) asn1.ObjectIdentifier {
	switch word {
	case "cn":
		return asn1.ObjectIdentifier{2, 5, 4, 3}
	case "serialnumber":
		return asn1.ObjectIdentifier{2, 5, 4, 5}
	case "c":
		return asn1.ObjectIdentifier{2, 5, 4, 6}
	case "l":
		return asn1.ObjectIdentifier{2, 5, 4, 7}
	case "st":
		return asn1.ObjectIdentifier{2, 5, 4, 8}
	case "o":
		return asn1.ObjectIdentifier{2, 5, 4, 10}
	case "ou":
		return asn1.ObjectIdentifier{2, 5, 4, 11}
	case "uid":
		return asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}
	case "dc":
		return asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}
	case "e", "email", "emailaddress":
		return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}
	default:
		return nil
	}
}

// attributeValue is a text in the string type that certificates use for the
// attribute: IA5String for mail addresses and domains, else PrintableString where
// that is possible and UTF8String where not.
func attributeValue(word, text string) any {
	switch word {
	case "dc", "e", "email", "emailaddress":
		return asn1.RawValue{Tag: asn1.TagIA5String, Bytes: []byte(text)}
	default:
		return text
	}
}

package offload

// NPUID names a network processor; 0 is none.
type NPUID uint32

// SelectorID is a dataplane's own name for a selector of an SA, npu_selid in
// the tunnel list.
type SelectorID uint32

// NPU is one network processor of a dataplane.
type NPU struct {
	ID   NPUID // from 1
	Name string
	// Emulated: software plays the part; nothing is really offloaded.
	Emulated bool
}

// NoNPU is a reason why an SA is in no NPU, from a closed set.
type NoNPU string

// The reasons.
const (
	InNPU             NoNPU = ""                      // it is in one
	NoSuchNPU         NoNPU = "no npu"                // the dataplane has none
	NotYet            NoNPU = "waits for traffic"     // offloaded with its first packet
	NoRoom            NoNPU = "npu full"              //
	NoAlgorithm       NoNPU = "algorithm"             // the NPU lacks the algorithm
	NoMode            NoNPU = "mode"                  // the NPU lacks the mode or encapsulation
	NoNPURole         NoNPU = "standby"               // the NPU takes active SAs only
	DisabledBySetting NoNPU = "disabled"              //
	DeviceRefused     NoNPU = "refused by the device" //
)

// NPUFlag is npu_flag of the tunnel list: which directions of a pair of SAs are
// in an NPU.
type NPUFlag uint8

// The values.
const (
	NPUNeither    NPUFlag = 0x00
	NPUOutbound   NPUFlag = 0x01 // encryption in the NPU
	NPUInbound    NPUFlag = 0x02 // decryption in the NPU
	NPUBoth       NPUFlag = 0x03
	NPUImpossible NPUFlag = 0x20 // the algorithms cannot be offloaded
)

// FlagOf derives the flag of a pair from where its two SAs went.
func FlagOf(in, out Placement) NPUFlag {
	var f NPUFlag
	if out.NPU != 0 {
		f |= NPUOutbound
	}
	if in.NPU != 0 {
		f |= NPUInbound
	}
	if f == NPUNeither && in.WhyNot == NoAlgorithm && out.WhyNot == NoAlgorithm {
		return NPUImpossible
	}
	return f
}

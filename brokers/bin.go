package brokers

// BinHeader is the native header that carries what EncodeBin returns.
const BinHeader = "troupe-bin"

// EncodeBin returns the value of the BinHeader for m: all that the broker cannot
// carry natively, and a checksum of native.
func EncodeBin(native []Header, m *Message) string { return "" }

// DecodeBin fills m's headers, key and payload presence from text, if native is
// what EncodeBin saw.
func DecodeBin(text string, native []Header, m *Message) (ok bool, err error) { return false, nil }

package k6x

// Names of limits on what a build may take.
const (
	LimitMemory   = "memory"    // bytes
	LimitCPU      = "cpu"       // seconds of processor time
	LimitFiles    = "files"     // how many
	LimitFileSize = "file-size" // bytes of one file
	LimitOutput   = "output"    // bytes of what its programs print
)

// Limit is a bound that a build ran into. A service with a higher one may build the same. The zero
// value is none.
type Limit struct {
	Name  string `json:"name"`
	Value int64  `json:"value"` // in the unit that goes with the name
}

// Limits are the bounds that builds have here, by name. What is not among them is not limited.
type Limits map[string]int64

// Exceed reports whether a build that ran into the limit elsewhere has more here.
func (l Limits) Exceed(limit Limit) bool {
	here, limited := l[limit.Name]
	return limit != Limit{} && (!limited || here > limit.Value)
}

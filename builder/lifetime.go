package builder

// Lifetime says how long a process goes on once a build was answered, and so what may still be done with what was built: packages
// remembered for later builds, or sent to a build cache that machines share.
type Lifetime int

const (
	OneShot  Lifetime = iota // a user waits for the process to end
	Batch                    // no user waits: it ends when all is done
	Resident                 // it goes on, as a service does
)

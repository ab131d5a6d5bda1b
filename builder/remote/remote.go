// Package remote has builds made by workers: machines that dial in, by NATS.
//
// A [Hub] is the side of the service. It knows the workers by what they say of themselves every two seconds, is the [builder.Places] of a
// [builder.Limit], in which free slots of workers are slots like those of the service, and is the [builder.Engine] that runs one job on the
// worker that the Limit took a slot of. A [Worker] is the other side: it takes jobs, and builds with an engine of its own.
//
//	Limit ─ Take ─► Hub ─ order ─► worker ─► engine
//	                 ▲                 │
//	                 └─ hello, report ─┘   events, then the binary, then the outcome: requests, each with the token of the job
//
// All goes over NATS, the bytes of binaries as well, in messages of a quarter of a megabyte which are answered one by one. The server is embedded
// ([Broker]) and listens on the loopback interface for what the service passes on of one path, or is one of the operator's. A worker may
// publish and subscribe to nothing but subjects with its own name. A report counts if its token is that of a job of the worker that it comes from.
//
// Where the store is in a bucket that signs requests, and a worker reaches that, it puts its binary there. It asks for the request when it
// knows the size, which is signed: so the request is good for a few minutes only, once, and for no more bytes, as far as the bucket bounds that. The
// service reads them, judges them as all others, and has the bucket copy what it has read ([bucket.Staged]). Whatever is in the way, they come over NATS.
//
// A worker that says nothing for eight seconds is dead, and its jobs are built elsewhere. The other way round a worker goes on for two minutes with a
// job whose service does not answer, and tells that it does: a service that is asked for the same, as after a restart, finds it so and
// goes on with it. So the workers are all the record there is of what is being built. Which service builds a key, where several
// share a store, the leases in the bucket say.
//
// A worker is not believed. [native.Engine.Accept] judges what it delivers before anything of it is given on, and one that delivers anything else gets
// no more work. Nor does one that sends messages without end, which is cut off.
//
// The files: wire.go has the messages, hub.go what is heard of workers, places.go the places of builds at them, engine.go one job at a worker, verify.go what is built twice;
// roster.go who may dial in, kept in JetStream, broker.go the server; worker.go the worker and task.go one job there; staging.go how a binary comes by the bucket, on both sides.
package remote

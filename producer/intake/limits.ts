/** Every bound of the intake. What a producer may want to change is an option of `serve`; the rest has its reason. */
const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

export interface IntakeLimits {
  /** A hospital's parcels that have not been opened yet, in bytes: one hospital must not fill the disk of all. */
  readonly quotaBytes: number;
  /** Left free on the disk: room for the database, for opening, and for the operating system to stay usable. */
  readonly reserveBytes: number;
  /** The largest parcel: one record of 4 GiB travels alone, and its wrapping needs a little. */
  readonly parcelBytes: number;
  /** Uploads begun and not ended, a hospital. The agent works on two at once. */
  readonly unfinishedUploads: number;
  /** Parcel ids of a hospital ever, tombstones included: three hundred years of one every six minutes would not fit. */
  readonly parcelRows: number;
  /** Requests of one hospital at once: two uploads, a receipt poll, a heartbeat, and as much again. */
  readonly requestsPerAgent: number;
  /** Connections of all: three hundred hospitals with four each, and some being set up. */
  readonly connections: number;
  /** Headers of a request: the statement travels in one, and is at most a few kilobytes. */
  readonly headerBytes: number;
  /** A signed hello: a key and a few words. */
  readonly helloBytes: number;
  /** A signed retraction: 1,000 record ids, encrypted; as large as a JWS is read at all. */
  readonly retractionBytes: number;
  /** A heartbeat: a few dozen gauges with their attributes. */
  readonly heartbeatBytes: number;
  /** From connection to TLS handshake done, and from there until the headers are read. */
  readonly handshakeMs: number;
  readonly headersMs: number;
  /** Without a byte of a body for this long the request is given up: its lock must not outlive a dead line. */
  readonly bodyIdleMs: number;
  /** A whole request: the largest parcel in one PATCH over a line of 50 kB/s. */
  readonly requestMs: number;
  /** How often an upload in progress is made durable: what a crash costs the line. */
  readonly checkpointBytes: number;
  /** What a client is told to wait when the disk or its share is full. */
  readonly retryAfterFullSeconds: number;
}

export const intakeLimits: IntakeLimits = {
  quotaBytes: 1024 * GiB,
  reserveBytes: 10 * GiB,
  parcelBytes: 5 * GiB,
  unfinishedUploads: 64,
  parcelRows: 30_000_000,
  requestsPerAgent: 16,
  connections: 2000,
  headerBytes: 32 * KiB,
  helloBytes: 16 * KiB,
  retractionBytes: 64 * KiB,
  heartbeatBytes: 256 * KiB,
  handshakeMs: 10_000,
  headersMs: 10_000,
  bodyIdleMs: 30_000,
  requestMs: 30 * 3_600_000,
  checkpointBytes: 16 * MiB,
  retryAfterFullSeconds: 600,
};

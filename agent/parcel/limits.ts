/**
 * How much goes into one parcel. A parcel is what one bad line or one opt-out makes us send again, so it is small; it
 * is also what costs one announcement, one receipt and one ledger row, so it is not tiny.
 */
const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

export const parcelLimits = {
  /** Sum of the payloads after which a parcel closes: about a quarter of an hour on a 300 kB/s line. */
  bytes: 256 * MiB,
  /** 50,000 lab results are far below the bytes, and their index still fits in memory. */
  records: 50_000,
  /** One payload with its prefix. Whole-slide images reach 2 GB; ustar ends at 8 GiB, so no extension is needed. */
  recordBytes: 4 * GiB,
  /** All lines of records.ndjson, or of subjects.ndjson: held in memory until the payloads are through. */
  indexBytes: 128 * MiB,
  /** One line of an index, or parcel.json: names and keys have a handful of fields of at most 4 KiB. */
  lineBytes: 64 * KiB,
} as const;

/** What a parcel may hold when it is opened: one largest record, both indexes, tar's own headers and padding. */
export const openLimits = {
  plainBytes: parcelLimits.recordBytes + 2 * parcelLimits.indexBytes + 64 * MiB,
  records: parcelLimits.records,
} as const;

/** The closing rule: whether one more record may join. A record too large for any parcel travels alone. */
export function hasRoom(open: { records: number; bytes: number }, next: { bytes: number }): boolean {
  if (open.records === 0) return true;
  return open.records < parcelLimits.records && open.bytes + next.bytes <= parcelLimits.bytes;
}

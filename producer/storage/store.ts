/**
 * Where parcels lie while they arrive and after. One small interface, so that a producer with many machines can put an
 * object store behind it (an appender is then a multipart upload); `FileStore` is the one that comes with it.
 *
 * The store knows nothing of states: the database says what a parcel is, and is always asked first.
 */
export interface ParcelName {
  /** Facility code. */
  readonly agent: string;
  readonly parcelId: string;
}

/** One writer at the end of one parcel. The caller sees to it that there is only one. */
export interface Appender {
  /** Where writing began. Lower than asked when what was there is no longer whole. */
  readonly offset: number;
  /** Takes bytes in order, one call at a time, in large pieces. The memory is the caller's again once it resolves. */
  write(piece: Uint8Array): Promise<void>;
  /** After it resolves, all that was written before the call survives a power cut. Writing may go on meanwhile. */
  sync(): Promise<void>;
  /** Harmless twice, and after an error. */
  close(): Promise<void>;
}

export interface ParcelStore {
  /**
   * Opens an unfinished parcel for writing at `offset`, and drops whatever lies behind it. At offset 0 the parcel is
   * made if it is not there. Takes one back that was published by a process that died before it could say so.
   */
  append(name: ParcelName, offset: number): Promise<Appender>;
  /** The first `bytes` of an unfinished parcel, to hash again what an earlier process received. */
  read(name: ParcelName, bytes: number): AsyncIterable<Uint8Array>;
  /** Moves a whole parcel and its statement to where openers look. Durable when it resolves; harmless twice. */
  publish(name: ParcelName, statement: string): Promise<void>;
  /** Where a published parcel can be read. */
  locate(name: ParcelName): string;
  /** Removes a parcel in whatever form it is there. Harmless when nothing is. */
  remove(name: ParcelName): Promise<void>;
  /** Bytes that can still be written. */
  freeBytes(): Promise<number>;
}

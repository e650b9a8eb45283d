/**
 * How a parcel comes in: announced with its signed statement, appended to in parts, hashed while it arrives, stored.
 *
 * ```
 * (unseen) --announce--> receiving --last byte, digest right--> stored --> opened | rejected
 *     |                      |  ^
 *     |                      |  `-- last byte, digest wrong: offset 0 again
 *     `------void---> void <-'
 * ```
 * Every arrow is one transaction, and the two that exclude each other, the last byte and the void, are both an UPDATE
 * that asks for the state `receiving`: whichever commits first has won, and the other says so.
 */
import type { Hash } from 'node:crypto';
import type { Readable } from 'node:stream';
import type { Clock } from '../../agent/model/ports.ts';
import { reasonOf } from '../../agent/model/errors.ts';
import type { ParcelStatement } from '../../agent/model/wire.ts';
import { Blocks } from '../../agent/parcel/blocks.ts';
import type { Appender, ParcelName } from '../storage/store.ts';
import { type AdmissionParts, admittedStatement, type Announcement, refuseFull, refuseOverQuota } from './admission.ts';
import { Checkpoints } from './checkpoints.ts';
import { Digests } from './digests.ts';
import type { ParcelRow } from './parcels.ts';
import { acceptedStatement, type Receipts } from './receipts.ts';
import { refusal } from './refusals.ts';

export interface UploadParts extends AdmissionParts {
  readonly receipts: Receipts;
  readonly clock: Clock;
  /** Told after a parcel's `stored` receipt is committed. */
  readonly onStored: (statement: ParcelStatement) => void;
}

export interface Part {
  readonly offset: number;
  /** Content-Length, where it is known. */
  readonly bytes?: number | undefined;
  readonly body: Readable;
}

/** Where the bytes of a part go. */
interface Sinks {
  readonly appender: Appender;
  readonly hash: Hash;
}

interface Writing {
  readonly body: Readable;
  readonly done: Promise<void>;
}

/**
 * TLS gives pieces of 16 KiB; hashed and written one by one they would cost more than their bytes. One block is filled
 * while the other is on its way to the disk: 1 MiB for each part that is being received.
 */
const blockBytesMax = 512 * 1024;
const blockCount = 2;

const nothing = Buffer.alloc(0);

export class Uploads {
  readonly #parts: UploadParts;
  readonly #digests: Digests;
  /** Uploads a request is writing at this moment: the lock. One process owns the data folder, so memory is enough. */
  readonly #writing = new Map<string, Writing>();

  constructor(parts: UploadParts) {
    this.#parts = parts;
    this.#digests = new Digests(parts.store);
  }

  /** @throws ConnectorError INTAKE_REFUSED */
  async announce(announcement: Announcement): Promise<void> {
    const { agents, parcels, clock } = this.#parts;
    const { agent, parcelId } = announcement;
    this.#refuseKnown({ agent, parcelId });
    const statement = admittedStatement(this.#parts, announcement);
    await refuseOverQuota(this.#parts, announcement);
    parcels.atomically(() => {
      // Asked again: another request may have announced it, or voided it, while the disk was asked.
      this.#refuseKnown({ agent, parcelId });
      if (parcels.hasSequence(statement)) throw refusal('STATEMENT_SEQUENCE');
      agents.witness(agent, statement.epoch, statement.ledgerHead);
      parcels.announce(statement, announcement.statement, clock.now());
    });
  }

  /** Where an upload stands: only bytes that are durable are told. @throws ConnectorError INTAKE_REFUSED */
  stand(name: ParcelName): { offset: number; bytes: number } {
    const { received, bytes } = this.#live(name);
    return { offset: received, bytes };
  }

  /** The same without a refusal: undefined when there is nothing to go on with. */
  offset(name: ParcelName): number | undefined {
    const parcel = this.#parts.parcels.find(name);
    return parcel && parcel.state !== 'void' ? parcel.received : undefined;
  }

  /** Takes a part; resolves with the new durable offset. @throws ConnectorError INTAKE_REFUSED */
  async append(name: ParcelName, part: Part): Promise<number> {
    const key = keyOf(name);
    const parcel = this.#live(name);
    if (this.#writing.has(key)) throw refusal('LOCKED');
    if (parcel.received !== part.offset) throw refusal('OFFSET_MISMATCH');
    if (part.bytes !== undefined && part.offset + part.bytes > parcel.bytes) throw refusal('TOO_LARGE');
    // The whole was stored and its answer lost: asking again with nothing left to send is harmless.
    if (parcel.state !== 'receiving') return parcel.bytes;
    const { promise: done, resolve } = Promise.withResolvers<void>();
    this.#writing.set(key, { body: part.body, done });
    try {
      await refuseFull(this.#parts, part.bytes ?? parcel.bytes - part.offset);
      return await this.#write(parcel, part);
    } catch (error) {
      throw asRefusal(error);
    } finally {
      this.#writing.delete(key);
      resolve();
    }
  }

  /**
   * Voids a parcel for ever, seen or not. Resolves with the `stored` receipt instead when the whole had arrived: then
   * it is too late, and the hospital retracts.
   *
   * @throws ConnectorError INTAKE_REFUSED
   */
  async void(name: ParcelName): Promise<string | undefined> {
    const { receipts } = this.#parts;
    const parcel = this.#bury(name);
    if (parcel && parcel.state !== 'receiving' && parcel.state !== 'void') {
      return receipts.find(name.agent, name.parcelId, 'stored');
    }
    // Whoever is still writing finds the tombstone; it is stopped at once, so that not a byte more is taken.
    const writing = this.#writing.get(keyOf(name));
    writing?.body.destroy();
    await writing?.done;
    await this.#removeBytes(name);
    return undefined;
  }

  /** Finishes what a crash interrupted: bytes of voided parcels that are still on the disk. */
  async recover(): Promise<void> {
    for (const name of this.#parts.parcels.toBury()) await this.#removeBytes(name);
  }

  /** Ends what is being written, keeping what has arrived. */
  async stop(): Promise<void> {
    const writing = [...this.#writing.values()];
    for (const { body } of writing) body.destroy();
    await Promise.all(writing.map(({ done }) => done));
  }

  async #removeBytes(name: ParcelName): Promise<void> {
    await this.#parts.store.remove(name);
    this.#parts.parcels.buried(name);
  }

  #bury(name: ParcelName): ParcelRow | undefined {
    const { agents, parcels, clock, limits } = this.#parts;
    return parcels.atomically(() => {
      const parcel = parcels.find(name);
      if (parcel) {
        parcels.move(name, 'receiving', 'void');
        return parcel;
      }
      if (parcels.rowCount(name.agent) >= limits.parcelRows) throw refusal('QUOTA');
      agents.register(name.agent);
      parcels.buryUnseen(name, clock.now());
      return undefined;
    });
  }

  #refuseKnown(name: ParcelName): void {
    const parcel = this.#parts.parcels.find(name);
    if (parcel) throw refusal(parcel.state === 'void' ? 'GONE' : 'EXISTS');
  }

  #live(name: ParcelName): ParcelRow {
    const parcel = this.#parts.parcels.find(name);
    if (!parcel) throw refusal('NOT_FOUND');
    if (parcel.state === 'void') throw refusal('GONE');
    return parcel;
  }

  async #write(parcel: ParcelRow, part: Part): Promise<number> {
    const appender = await this.#parts.store.append(parcel, part.offset);
    try {
      if (appender.offset !== part.offset) {
        this.#parts.parcels.received(parcel, 0);
        throw refusal('OFFSET_MISMATCH');
      }
      const hash = await this.#digests.take(parcel, part.offset);
      const { position, cause } = await this.#take(parcel, part, { appender, hash });
      if (position === parcel.bytes) return await this.#finish(parcel, { appender, hash });
      await appender.sync();
      this.#parts.parcels.received(parcel, position);
      this.#digests.giveBack(parcel, hash, position);
      if (cause !== undefined) throw cause;
      return position;
    } finally {
      await appender.close();
    }
  }

  /**
   * Reads the body as far as it comes. A line that is cut is not an error here: what arrived is kept. Checkpoints are
   * made while the next bytes arrive, and the last one is over when this resolves.
   */
  async #take(parcel: ParcelRow, part: Part, { appender, hash }: Sinks): Promise<{ position: number; cause: unknown }> {
    const { parcels, limits } = this.#parts;
    const checkpoints = new Checkpoints({
      appender,
      from: part.offset,
      everyBytes: limits.checkpointBytes,
      tell: (offset) => parcels.received(parcel, offset),
    });
    let blockEnd = part.offset;
    let written = Promise.resolve();
    const blockBytes = Math.min(blockBytesMax, limits.checkpointBytes);
    const blocks = new Blocks({ count: blockCount, bytes: blockBytes }, async ({ index, bytes }) => {
      const block = blocks.memory[index]?.subarray(0, bytes) ?? nothing;
      const end = (blockEnd += bytes);
      hash.update(block);
      written = written.then(() => appender.write(block));
      await written;
      // All of it is told only by the transaction that stores it.
      if (end < parcel.bytes) await checkpoints.passed(end);
    });
    try {
      const cause = await readInto(blocks, part.body, parcel.bytes - part.offset);
      await blocks.end();
      return { position: blockEnd, cause };
    } finally {
      await checkpoints.end();
    }
  }

  async #finish(parcel: ParcelRow, { appender, hash }: Sinks): Promise<number> {
    const { store, parcels, receipts, clock, onStored } = this.#parts;
    const statement = acceptedStatement(parcel.statement);
    await appender.sync();
    await appender.close();
    if (hash.digest('hex') !== statement.sha256) {
      // First the promise is taken back, then the bytes: a crash between the two leaves a file that is overwritten.
      parcels.received(parcel, 0);
      await store.remove(parcel);
      throw refusal('DIGEST_MISMATCH');
    }
    await store.publish(parcel, parcel.statement ?? '');
    const isStored = parcels.atomically(() => {
      const hasWon = parcels.store(parcel, clock.now());
      if (hasWon) receipts.issue(statement, { status: 'stored' });
      return hasWon;
    });
    if (!isStored) {
      await this.#removeBytes(parcel);
      throw refusal('GONE');
    }
    onStored(statement);
    return parcel.bytes;
  }
}

/** Until the body ends, is cut, or is longer than announced. Resolves with what cut it short, if anything did. */
async function readInto(blocks: Blocks, body: Readable, bytesMax: number): Promise<unknown> {
  const pieces: AsyncIterator<Uint8Array> = body[Symbol.asyncIterator]();
  for (let bytes = 0; ; ) {
    const next = await pieces.next().catch((cause: unknown) => ({ cause: refusal('BODY_TIMEOUT', cause) }));
    if ('cause' in next) return next.cause;
    if (next.done === true) return undefined;
    bytes += next.value.length;
    if (bytes > bytesMax) return refusal('TOO_LARGE');
    await blocks.write(next.value);
  }
}

function keyOf({ agent, parcelId }: ParcelName): string {
  return `${agent}/${parcelId}`;
}

/** A disk that is full is an ordinary answer; any other failure of it is ours. */
function asRefusal(error: unknown): unknown {
  const isFull = ['ENOSPC', 'EDQUOT', 'SQLITE_FULL'].includes(reasonOf(error));
  return isFull ? refusal('FULL', error) : error;
}

import { rm } from 'node:fs/promises';
import type { Parcel } from '../buffer/parcels.ts';
import type { Progress } from '../model/ports.ts';
import type { Lane } from '../model/record.ts';
import type { Throttle } from '../ship/rate.ts';
import { upload } from '../ship/upload.ts';
import { assign } from './assign.ts';
import { type AnswerTally, Conversation, type ConversationOptions, noAnswers } from './conversation.ts';
import { pausedBy } from './epoch.ts';
import { pack, parcelPath } from './pack.ts';
import { permit, publish } from './publish.ts';
import type { ProducerRow, Store } from './store.ts';

/** How long a run waits for the producer to have opened what it sent; a later run asks again. */
const openedWaitMsMax = 20_000;
/** The producer syncs and hashes before it signs `stored`. */
const storedWaitMsMax = 60_000;

export interface ShippingOptions extends ConversationOptions {
  readonly rate: Throttle;
  readonly isPaused: () => boolean;
}

/** What one run did. */
export interface ShipTally extends AnswerTally {
  parcels: number;
  records: number;
  bytes: number;
  /** Why it ended before everything was sent: nobody's data may leave, the window closed, it was told to stop. */
  pausedBy?: string;
}

/**
 * The way from the buffer to one producer. A run settles what is open first (receipts, voids, retractions: they must
 * not wait behind gigabytes), then packs, publishes and uploads one parcel after another, text before images.
 * Everything it does can be repeated; it keeps no state of its own but the upload it may have to break off.
 */
export class Shipping {
  readonly #store: Store;
  readonly #producer: ProducerRow;
  readonly #options: ShippingOptions;
  readonly #conversation: Conversation;
  #last: Promise<void> = Promise.resolve();
  /** The newest record when this run began: what comes meanwhile is the next run's, or no run would ever end. */
  #upTo = 0;
  #active: { readonly pid: string; readonly abort: AbortController; readonly ended: Promise<void> } | undefined;

  constructor(store: Store, producer: ProducerRow, options: ShippingOptions) {
    this.#store = store;
    this.#producer = producer;
    this.#options = options;
    this.#conversation = new Conversation(store, producer, options);
  }

  /** Breaks off what is being packed or uploaded, if it is one of these. Resolves when no byte leaves any more. */
  async abort(pids: readonly string[]): Promise<void> {
    const active = this.#active;
    if (!active || !pids.includes(active.pid)) return;
    active.abort.abort();
    await active.ended;
  }

  /** Breaks off whatever is being packed or uploaded; the next run goes on with it. */
  async halt(): Promise<void> {
    if (this.#active) await this.abort([this.#active.pid]);
  }

  /**
   * One run; a second call waits for the first.
   *
   * @throws ConnectorError of the link; whatever was reached stays.
   */
  run(signal: AbortSignal, progress: Progress): Promise<ShipTally> {
    return this.#alone(() => this.#run(signal, progress));
  }

  /** Only the small messages, whatever the timetable says: receipts, voids, retractions. */
  settle(): Promise<void> {
    return this.#alone(() => this.#conversation.settle({ ...noAnswers }));
  }

  /** Says hello, and takes the producer's time. @throws ConnectorError of the link */
  greet(): Promise<void> {
    return this.#conversation.greet();
  }

  async #alone<T>(work: () => Promise<T>): Promise<T> {
    const running = this.#last.then(work);
    this.#last = running.then(ignore, ignore);
    return running;
  }

  async #run(signal: AbortSignal, progress: Progress): Promise<ShipTally> {
    const tally = newTally();
    this.#upTo = this.#store.records.lastRow();
    await this.#conversation.greet();
    await this.#conversation.settle(tally);
    while (!signal.aborted && tally.pausedBy === undefined) {
      const parcel = await this.#next(tally, signal);
      if (!parcel) break;
      await this.#send(parcel, tally, signal, progress);
      await this.#conversation.settle(tally);
    }
    const isEnough = () => tally.opened + tally.rejected >= tally.parcels;
    await this.#conversation.awaitReceipts(tally, { isEnough, waitMsMax: openedWaitMsMax, signal });
    return tally;
  }

  /** The parcel to send next: one already published, else a new one; undefined when there is nothing to send. */
  async #next(tally: ShipTally, signal: AbortSignal): Promise<Parcel | undefined> {
    const { parcels } = this.#store;
    const { id } = this.#producer;
    const paused = pausedBy(this.#store) ?? (this.#options.isPaused() ? 'paused' : undefined);
    if (paused) {
      tally.pausedBy = paused;
      return undefined;
    }
    const begun = parcels.inState('uploading', id)[0] ?? parcels.inState('sealed', id)[0];
    if (begun) return begun;
    for (const lane of ['text', 'image'] as const satisfies readonly Lane[]) {
      const made = await this.#make(lane, tally, signal);
      if (made || tally.pausedBy !== undefined) return made;
    }
    return undefined;
  }

  async #make(lane: Lane, tally: ShipTally, signal: AbortSignal): Promise<Parcel | undefined> {
    const { parcels, report } = this.#store;
    for (;;) {
      const waiting = parcels.inState('packing', this.#producer.id).find(({ sha256 }) => sha256 !== null);
      const limits = { lane, sequenceFloor: this.#conversation.sequenceFloor, upTo: this.#upTo };
      const parcelId = waiting?.id ?? assign(this.#store, this.#producer, limits);
      const pid = parcelId === undefined ? undefined : parcels.get(parcelId)?.pid;
      if (parcelId === undefined || pid === undefined || signal.aborted) return undefined;
      const isPacked = waiting !== undefined || (await this.#pack(parcelId, pid, signal));
      if (!isPacked) continue;
      const result = publish(this.#store, this.#producer, parcelId);
      if (result.kind === 'void') await this.#options.finish(result.after);
      if (result.kind === 'paused') {
        tally.pausedBy = result.reason;
        return undefined;
      }
      if (result.kind === 'published') {
        report({ name: 'parcel.sealed', producer: this.#producer.name, parcel: pid });
        return parcels.get(parcelId);
      }
    }
  }

  async #pack(parcelId: number, pid: string, signal: AbortSignal): Promise<boolean> {
    return this.#guarded(pid, signal, async (inner) => {
      try {
        return await pack(this.#store, this.#producer, parcelId, inner);
      } catch (error) {
        // A stop has voided it meanwhile; the others in it are ready again.
        if (inner.aborted && !signal.aborted) return false;
        throw error;
      }
    });
  }

  async #send(parcel: Parcel, tally: ShipTally, signal: AbortSignal, progress: Progress): Promise<void> {
    const { parcels, report } = this.#store;
    const { link, rate } = this.#options;
    if (parcels.get(parcel.id)?.state === 'sealed') parcels.move(parcel.id, 'uploading');
    const bytes = parcel.bytes as number;
    let offset = 0;
    const result = await this.#guarded(parcel.pid, signal, (inner) =>
      upload(
        link,
        { parcelId: parcel.pid, path: parcelPath(this.#store, parcel), bytes, statement: parcel.statement as string },
        {
          permit: () => {
            const answer = permit(this.#store, this.#producer, parcel.pid);
            if (answer === 'go') parcels.sending(parcel.id, Math.min(bytes, offset + link.partSize.bytes));
            return answer;
          },
          rate,
          signal: inner,
          progress: (state) => {
            offset = state.offset;
            progress({ done: tally.bytes + offset, total: tally.bytes + bytes, unit: 'bytes' });
          },
        },
      ),
    );
    if (result.kind === 'refused') throw result.error;
    if (result.kind === 'paused') {
      // A void parcel is settled and the run goes on with the others.
      if (parcels.get(parcel.id)?.state !== 'voiding') tally.pausedBy = result.reason;
      return;
    }
    tally.parcels++;
    tally.records += parcel.records;
    tally.bytes += bytes;
    report({ name: 'parcel.uploaded', producer: this.#producer.name, parcel: parcel.pid, numbers: { bytes } });
    const isEnough = () => tally.stored >= tally.parcels;
    await this.#conversation.awaitReceipts(tally, { isEnough, waitMsMax: storedWaitMsMax, signal });
  }

  /** Runs work that a stop may break off, and lets `abort` wait for its end. */
  async #guarded<T>(pid: string, signal: AbortSignal, work: (inner: AbortSignal) => Promise<T>): Promise<T> {
    const abort = new AbortController();
    const inner = AbortSignal.any([signal, abort.signal]);
    const running = work(inner);
    const ended = running.then(ignore, ignore);
    this.#active = { pid, abort, ended };
    try {
      return await running;
    } finally {
      this.#active = undefined;
    }
  }
}

function newTally(): ShipTally {
  return { parcels: 0, records: 0, bytes: 0, ...noAnswers };
}

function ignore(): void {
  // Only its end is waited for; its outcome is the run's.
}

/** Files of parcels that ended. */
export async function removeParcelFile(store: Store, pid: string): Promise<void> {
  const parcel = store.parcels.byPid(pid);
  if (parcel) await rm(parcelPath(store, parcel), { force: true });
}

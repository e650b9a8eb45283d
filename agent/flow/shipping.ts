import { rm } from 'node:fs/promises';
import { Encrypter } from 'age-encryption';
import { isoJst } from '../base/clock.ts';
import { peekJws, type PublicJwk, signJws } from '../base/jws.ts';
import type { Parcel } from '../buffer/parcels.ts';
import { ConnectorError } from '../model/errors.ts';
import type { Clock, Progress } from '../model/ports.ts';
import type { Instant, Lane } from '../model/record.ts';
import { type Hello, jwsTypes, type Receipt, type Retraction } from '../model/wire.ts';
import type { ProducerLink } from '../ship/link.ts';
import type { Throttle } from '../ship/rate.ts';
import { digestOf, type ExpectedParcel, verifyReceipt, verifyRetractionReceipt } from '../ship/receipt.ts';
import { upload } from '../ship/upload.ts';
import { assign } from './assign.ts';
import { pack, parcelPath } from './pack.ts';
import { permit, publish } from './publish.ts';
import { settle, settleVoid } from './settle.ts';
import type { AfterCommit, ProducerRow, Store } from './store.ts';

/** How long a run waits for the producer to have opened what it sent; a later run asks again. */
const openedWaitMsMax = 20_000;
/** The producer syncs and hashes before it signs `stored`. */
const storedWaitMsMax = 60_000;
const receiptPollMs = 250;

export interface ShippingOptions {
  readonly link: ProducerLink;
  readonly receiptKeys: readonly PublicJwk[];
  readonly rate: Throttle;
  readonly clock: Clock;
  /** Takes the time of a producer's answer: what trusts the clock. */
  readonly confirmTime: (at: Instant, roundTripMs: number) => void;
  readonly finish: (after: AfterCommit) => Promise<void>;
  /** False after a restore, until a person or a fresh register has said that the state is to be believed. */
  readonly isConfirmed: () => boolean;
  readonly isPaused: () => boolean;
}

/** What one run did. */
export interface ShipTally {
  parcels: number;
  records: number;
  bytes: number;
  stored: number;
  opened: number;
  rejected: number;
  retractions: number;
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
  #last: Promise<void> = Promise.resolve();
  /** The highest parcel sequence the producer has seen: more than ours only after a restore. */
  #sequenceFloor = 0;
  /** The newest record when this run began: what comes meanwhile is the next run's, or no run would ever end. */
  #upTo = 0;
  #active: { readonly pid: string; readonly abort: AbortController; readonly ended: Promise<void> } | undefined;

  constructor(store: Store, producer: ProducerRow, options: ShippingOptions) {
    this.#store = store;
    this.#producer = producer;
    this.#options = options;
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
    return this.#alone(() => this.#settleAll(newTally()));
  }

  async #alone<T>(work: () => Promise<T>): Promise<T> {
    const running = this.#last.then(work);
    this.#last = running.then(ignore, ignore);
    return running;
  }

  async #run(signal: AbortSignal, progress: Progress): Promise<ShipTally> {
    const tally = newTally();
    this.#upTo = this.#store.records.lastRow();
    await this.greet();
    await this.#settleAll(tally);
    while (!signal.aborted && tally.pausedBy === undefined) {
      const parcel = await this.#next(tally, signal);
      if (!parcel) break;
      await this.#send(parcel, tally, signal, progress);
      await this.#settleAll(tally);
    }
    await this.#awaitReceipts(tally, signal, 'opened', openedWaitMsMax);
    return tally;
  }

  /** Says hello, and takes the producer's time. */
  async greet(): Promise<void> {
    const { link, confirmTime } = this.#options;
    if (link.receiver === 'tus') {
      const { at, roundTripMs } = await link.health();
      return confirmTime(at, roundTripMs);
    }
    const { at, roundTripMs, answer } = await link.hello(this.#hello());
    this.#sequenceFloor = answer.sequence;
    confirmTime(at, roundTripMs);
  }

  #hello(): string {
    const { facility, epoch, keys, ledger, software, time } = this.#store;
    const { publicJwk } = keys.signing;
    const at = isoJst(time.now());
    const hello: Hello = { v: 1, agent: facility, epoch, key: publicJwk, ledgerHead: ledger.head(), software, at };
    return signJws(keys.signing, jwsTypes.hello, hello);
  }

  async #settleAll(tally: ShipTally): Promise<void> {
    await this.#settleReceipts(tally);
    await this.#settleVoids(tally);
    await this.#sendRetractions(tally);
  }

  async #settleReceipts(tally: ShipTally): Promise<void> {
    const { parcels } = this.#store;
    for (;;) {
      const after = parcels.lastReceipt(this.#producer.id)?.sequence ?? 0;
      const jwsList = await this.#options.link.receipts(after);
      if (jwsList.length === 0) return;
      for (const jws of jwsList) await this.#settleReceipt(jws, tally);
    }
  }

  async #settleReceipt(jws: string, tally: ShipTally): Promise<void> {
    const receipt = this.#verify(jws);
    await this.#options.finish(settle(this.#store, this.#producer, { receipt, jws }));
    const { parcelId: parcel, status } = receipt;
    tally[status]++;
    const code = status === 'rejected' ? { code: 'PARCEL_REJECTED' as const } : {};
    this.#store.report({ name: `parcel.${status}`, producer: this.#producer.name, parcel, ...code });
  }

  #verify(jws: string) {
    const { facility, parcels, report } = this.#store;
    const { id, name } = this.#producer;
    try {
      return verifyReceipt({
        jws,
        keys: this.#options.receiptKeys,
        expected: {
          producer: name,
          agent: facility,
          parcel: (pid) => expected(parcels.byPid(pid), id) ?? this.#beforeRestore(jws),
          lastReceipt: parcels.lastReceipt(id),
        },
      });
    } catch (error) {
      if (error instanceof ConnectorError) report({ name: 'receipt.refused', producer: name, code: error.code });
      throw error;
    }
  }

  /**
   * After a restore the producer still tells of parcels this state never knew. They keep their place in the chain of
   * receipts; what was in them is sent again, under the same record ids.
   */
  #beforeRestore(jws: string): ExpectedParcel | undefined {
    return this.#store.epoch > 1 ? (peekJws(jws) as Receipt) : undefined;
  }

  async #settleVoids(tally: ShipTally): Promise<void> {
    for (const parcel of this.#store.parcels.inState('voiding', this.#producer.id)) {
      const answer = await this.#options.link.void(parcel.pid);
      if (answer.kind === 'stored') {
        // Too late: its receipt stands in the feed like every other, in its place in the chain.
        await this.#settleReceipts(tally);
        continue;
      }
      await this.#options.finish(settleVoid(this.#store, this.#producer, parcel.id, answer));
      this.#store.report({ name: 'parcel.voided', producer: this.#producer.name, parcel: parcel.pid });
    }
  }

  async #sendRetractions(tally: ShipTally): Promise<void> {
    if (this.#options.link.receiver === 'tus') return;
    const { retractions, keys, facility, epoch, ledger, time, db, report } = this.#store;
    for (const { id, jws: signed, at } of retractions.open(this.#producer.id)) {
      const detail = await this.#encrypt(JSON.stringify(retractions.detail(id)));
      const body: Retraction = { v: 1, retractionId: id, agent: facility, epoch, detail, at: isoJst(at) };
      const jws = signed ?? signJws(keys.signing, jwsTypes.retraction, body);
      if (!signed) retractions.sign(id, jws);
      const answer = await this.#options.link.retract(jws);
      const wanted = { producer: this.#producer.name, agent: facility, retractionId: id, sha256: digestOf(jws) };
      verifyRetractionReceipt({ jws: answer, keys: this.#options.receiptKeys, expected: wanted });
      db.transaction(() => {
        const now = time.now();
        retractions.acknowledge(id, answer, now);
        ledger.append('retraction-acknowledged', now, { retraction: id, producer: this.#producer.name });
      }).immediate();
      tally.retractions++;
      report({ name: 'retraction.sent', producer: this.#producer.name });
    }
  }

  async #encrypt(text: string): Promise<string> {
    const encrypter = new Encrypter();
    for (const recipient of this.#producer.recipients) encrypter.addRecipient(recipient);
    return Buffer.from(await encrypter.encrypt(text)).toString('base64');
  }

  /** The parcel to send next: one already published, else a new one; undefined when there is nothing to send. */
  async #next(tally: ShipTally, signal: AbortSignal): Promise<Parcel | undefined> {
    const { parcels, gate } = this.#store;
    const { id } = this.#producer;
    const { isConfirmed, isPaused } = this.#options;
    const paused = gate.paused() ?? (isPaused() ? 'paused' : undefined) ?? (isConfirmed() ? undefined : 'restored');
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
      const limits = { lane, sequenceFloor: this.#sequenceFloor, upTo: this.#upTo };
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
    await this.#awaitReceipts(tally, signal, 'stored', storedWaitMsMax);
  }

  /** Asks for receipts until as many have come as parcels were sent, or the time is over. */
  async #awaitReceipts(
    tally: ShipTally,
    signal: AbortSignal,
    status: 'stored' | 'opened',
    waitMsMax: number,
  ): Promise<void> {
    const { clock } = this.#options;
    const until = clock.monotonic() + waitMsMax;
    await this.#settleReceipts(tally);
    const answered = () => (status === 'stored' ? tally.stored : tally.opened + tally.rejected);
    while (answered() < tally.parcels && !signal.aborted && clock.monotonic() < until) {
      await clock.sleep(receiptPollMs, signal);
      await this.#settleReceipts(tally);
    }
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
  return { parcels: 0, records: 0, bytes: 0, stored: 0, opened: 0, rejected: 0, retractions: 0 };
}

function ignore(): void {
  // Only its end is waited for; its outcome is the run's.
}

function expected(parcel: Parcel | undefined, producer: number) {
  if (!parcel || parcel.producer !== producer || parcel.sha256 === null || parcel.bytes === null) return undefined;
  return { parcelId: parcel.pid, sequence: parcel.sequence, sha256: parcel.sha256, bytes: parcel.bytes };
}

/** Files of parcels that ended. */
export async function removeParcelFile(store: Store, pid: string): Promise<void> {
  const parcel = store.parcels.byPid(pid);
  if (parcel) await rm(parcelPath(store, parcel), { force: true });
}

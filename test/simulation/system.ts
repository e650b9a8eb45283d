/** The product under one history: how its plug is pulled, and how its state is held against the model's. */
import { createHash } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { backupDatabase, backUp, copyJournal } from '../../agent/flow/backup.ts';
import { beginEpoch } from '../../agent/flow/epoch.ts';
import { settleReceipts } from '../../agent/flow/receipts.ts';
import { recover } from '../../agent/flow/recover.ts';
import { copyBackup, removeRestored, restoredDatabase, takeEffect } from '../../agent/flow/restore.ts';
import type { CrashPoint } from '../../agent/flow/store.ts';
import { breaches, type Flow, newFolder } from '../flow/harness.ts';
import type { FarEnd } from './far-end.ts';
import { type Model, type Producer, producers } from './model.ts';

export interface SystemOptions {
  readonly make: (reached: (point: CrashPoint) => void) => Flow;
  readonly farEnds: Readonly<Record<Producer, FarEnd>>;
  /** Makes the file of a parcel that was assigned. */
  readonly pack: (flow: Flow, producer: Producer, row: number) => Promise<void> | void;
}

export class System {
  flow: Flow;
  /** The plug is pulled the next time this point is passed. */
  armed: CrashPoint | undefined;
  hasCrashed = false;
  readonly crashes: CrashPoint[] = [];
  readonly farEnds: SystemOptions['farEnds'];
  readonly pack: SystemOptions['pack'];
  /** Folders, oldest first. */
  readonly #backups: string[] = [];
  restores = 0;
  readonly #safe = newFolder('backups');

  constructor({ make, farEnds, pack }: SystemOptions) {
    this.farEnds = farEnds;
    this.pack = pack;
    this.flow = make((point) => this.#reached(point));
  }

  remove(): void {
    this.flow.remove();
    rmSync(this.#safe, { recursive: true, force: true });
  }

  #reached(point: CrashPoint): void {
    if (point === this.armed && !this.hasCrashed) {
      this.hasCrashed = true;
      this.crashes.push(point);
    }
    // After an accept has committed nobody is left to catch; to the source, not being answered is the same.
    if (this.hasCrashed && point !== 'accept:committed') throw new Error(`the plug was pulled at ${point}`);
  }

  async restart(model: Model): Promise<void> {
    this.armed = undefined;
    this.hasCrashed = false;
    this.flow = this.flow.reopen();
    await recover(this.flow.store);
    model.recover();
  }

  /** The next receipt, if there is one. */
  async settle(producer: Producer): Promise<void> {
    const { flow } = this;
    const farEnd = this.farEnds[producer];
    const finish: Flow['finish'] = (after) => flow.finish(after);
    const feed = { receipts: farEnd.feed(), keys: farEnd.keys, finish };
    await settleReceipts(flow.store, flow.producer(producer), feed, () => undefined);
  }

  async backUp(): Promise<void> {
    const state = this.flow.folder;
    // Folders are named by the second, and the clock of a history moves by days.
    const to = join(this.#safe, String(this.#backups.length));
    const places = { state, database: join(state, backupDatabase), to };
    const { folder } = await backUp(this.flow.store, places, () => undefined);
    this.#backups.push(folder);
  }

  /** As `kakehashi restore`, on a machine that has the site key. */
  async restore(backup: number): Promise<void> {
    const folder = this.#backups[backup] as string;
    const state = this.flow.folder;
    this.flow.close();
    if (existsSync(join(state, 'stops.journal'))) await copyJournal(state, folder);
    await removeRestored(state);
    await copyBackup(folder, state, () => undefined);
    const begun = this.flow.reopen({ database: restoredDatabase });
    beginEpoch(begun.store);
    begun.close();
    await takeEffect(state);
    this.flow = this.flow.reopen();
    for (const farEnd of Object.values(this.farEnds)) farEnd.greeted(this.flow.store.epoch);
    this.restores++;
    await recover(this.flow.store);
  }
}

export function expectSame(what: string, found: unknown, wanted: unknown): void {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)];
  if (a !== b) throw new Error(`${what}\n  product: ${a}\n  model:   ${b}`);
}

interface DeliveryRow {
  rid: string;
  producer: string;
  state: string;
  parcel: number | null;
  isTaken: number;
  isPresent: number;
}

const bound: ReadonlySet<string> = new Set(['packed', 'stored', 'opened', 'rejected', 'stopped']);

/** The whole state, row by row. */
export function compare(model: Model, { flow }: System): void {
  expectSame('deliveries', foundDeliveries(flow), wantedDeliveries(model, flow));
  const inModel = model.parcels.map(({ row, state }) => ({ id: row, state })).toSorted((a, b) => a.id - b.id);
  const parcels = flow.store.db
    .prepare<[], { id: number; state: string }>(
      `SELECT id, CASE state WHEN 'uploading' THEN 'sealed' ELSE state END AS state FROM parcel ORDER BY id`,
    )
    .all()
    // One that was bound when the plug was pulled: void, and nobody was told its number.
    .filter(({ id, state }) => state !== 'void' || inModel.some((each) => each.id === id));
  expectSame('parcels', parcels, inModel);
  expectSame('retractions', foundRetractions(flow), model.retractions.map((each) => named(flow, each)).toSorted());
  expectSame('breaches', breaches(flow.store), []);
}

function foundDeliveries({ store }: Flow): string[] {
  return store.db
    .prepare<[], DeliveryRow>(
      `SELECT lower(hex(record.rid)) AS rid, producer.name AS producer, delivery.state, parcel.id AS parcel,
         coalesce(delivery.reason, '') = 'retracted' AS isTaken, record.wrapped_key IS NOT NULL AS isPresent
       FROM delivery JOIN record ON record.id = delivery.record JOIN producer ON producer.id = delivery.producer
         LEFT JOIN parcel ON parcel.id = delivery.parcel AND parcel.state <> 'void'`,
    )
    .all()
    .map(({ rid, producer, state, parcel, isTaken, isPresent }) =>
      [producer, rid, state, parcel, isTaken, isPresent].join(' '),
    )
    .toSorted();
}

function wantedDeliveries(model: Model, flow: Flow): string[] {
  return [...model.records.values()]
    .flatMap((record) =>
      producers.flatMap((producer) => {
        const delivery = record.deliveries.get(producer);
        if (!delivery) return [];
        const { state, parcel, isRetracted } = delivery;
        // Which of a void parcel's deliveries still name it depends on the order they were stopped in.
        const row = bound.has(state) && parcel?.state !== 'void' ? parcel?.row : undefined;
        const words = [state, row, Number(isRetracted), Number(model.isPresent(record))];
        return [named(flow, `${producer} ${record.key}`, ...words)];
      }),
    )
    .toSorted();
}

function foundRetractions({ store }: Flow): string[] {
  return store.producers
    .flatMap(({ id, name }) =>
      store.retractions
        .open(id)
        .flatMap((open) => store.retractions.detail(open.id).recordIds.map((rid) => `${name} ${rid}`)),
    )
    .toSorted();
}

/** `producer key` of the model as `producer record-id` of the product. */
function named(flow: Flow, producerAndKey: string, ...words: readonly unknown[]): string {
  const [producer = '', key = ''] = producerAndKey.split(/ (.*)/s);
  return [producer, ridOf(flow, key), ...words].join(' ');
}

const rids = new Map<string, string>();

/** Half of the HMAC of what it is, and half of the HMAC of that and its bytes. */
function name({ keys }: Flow['store'], key: string, sha256: string): string {
  const halves = [keys.index('native', 'ehr-feed', key), keys.index('record', 'ehr-feed', key, sha256)];
  return halves.map((hmac) => hmac.toString('hex', 0, 8)).join('');
}

/** The same in every history: all begin as copies of one state, with one index key. */
function ridOf({ store }: Flow, key: string): string {
  const sha256 = createHash('sha256').update(key).digest('hex');
  const rid = rids.get(key) ?? name(store, key, sha256);
  rids.set(key, rid);
  return rid;
}

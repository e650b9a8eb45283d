/**
 * The heart of the agent without its limbs: a Store on real files, with a clock that tests move and producers that are
 * a signing key in memory. No test framework in here: the crash tests run it in a process of its own.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { addDays, dayJst, startOfDayJst } from '../../agent/base/clock.ts';
import { type Db, openDatabase, type Statement } from '../../agent/base/database.ts';
import { newSigningKey, signJws, type SigningKey } from '../../agent/base/jws.ts';
import { KeyRing, keysMigration } from '../../agent/base/keys.ts';
import { Settings, settingsMigration } from '../../agent/base/settings.ts';
import { Deliveries } from '../../agent/buffer/deliveries.ts';
import { Names } from '../../agent/buffer/names.ts';
import { type Parcel, Parcels } from '../../agent/buffer/parcels.ts';
import { Records } from '../../agent/buffer/records.ts';
import { Retractions } from '../../agent/buffer/retractions.ts';
import { bufferMigration } from '../../agent/buffer/schema.ts';
import { SourceMemory } from '../../agent/buffer/source-memory.ts';
import { Spool } from '../../agent/buffer/spool.ts';
import { Acceptor } from '../../agent/flow/accept.ts';
import { assign } from '../../agent/flow/assign.ts';
import { backupDatabase } from '../../agent/flow/backup.ts';
import { pack, parcelPath } from '../../agent/flow/pack.ts';
import { publish, type PublishResult } from '../../agent/flow/publish.ts';
import { witnessedHeads } from '../../agent/flow/receipts.ts';
import { refresh } from '../../agent/flow/refresh.ts';
import { addFiling, addNoticeVersion, notify } from '../../agent/flow/register.ts';
import { settle } from '../../agent/flow/settle.ts';
import { recordStop, withdrawStop } from '../../agent/flow/stop.ts';
import { StopJournal } from '../../agent/flow/stop-journal.ts';
import type { AfterCommit, CrashPoint, ProducerRow, Store } from '../../agent/flow/store.ts';
import { type LawfulTime, RegisterGate } from '../../agent/gate/gate.ts';
import { Register, type StopBasis } from '../../agent/gate/register.ts';
import { gateMigration } from '../../agent/gate/schema.ts';
import { Subjects } from '../../agent/gate/subjects.ts';
import { Ledger, ledgerMigration } from '../../agent/ledger/ledger.ts';
import { categories, type Category, type FiledCategory } from '../../agent/model/category.ts';
import type { ConnectorEvent } from '../../agent/model/events.ts';
import type { Basis, Intake, Offer } from '../../agent/model/ports.ts';
import type {
  DayJst,
  Instant,
  Lane,
  OfferedRecord,
  OfferResult,
  PatientName,
  RecordFacts,
} from '../../agent/model/record.ts';
import { jwsTypes, type Receipt, type ReceiptStatus } from '../../agent/model/wire.ts';
import { verifyReceipt } from '../../agent/ship/receipt.ts';

export const dayMs = 86_400_000;
export const today: DayJst = '2026-11-23';
/** A notice so old that its waiting days are over. */
export const longAgo: DayJst = '2026-04-01';

export class ManualTime implements LawfulTime {
  at: Instant = startOfDayJst(today) + 10 * 3_600_000;
  isBelieved = true;

  now(): Instant {
    return this.at;
  }

  isTrusted(): boolean {
    return this.isBelieved;
  }

  advanceDays(days: number): void {
    this.at += days * dayMs;
  }
}

export interface ProducerChoice {
  readonly name: string;
  readonly basis: Basis;
}

export const ldi: ProducerChoice = { name: 'ldi', basis: 'article-57' };
export const anon: ProducerChoice = { name: 'anon', basis: 'article-52' };

export interface FlowOptions {
  readonly producers?: readonly ProducerChoice[];
  /** An existing folder is opened again, with the keys in it. */
  readonly folder?: string;
  /** File of the database in the folder. */
  readonly database?: string;
  readonly time?: ManualTime;
  readonly recordBytesMax?: number;
  readonly holdDays?: number;
  readonly reached?: (point: CrashPoint) => void;
  /** Sees the database before anything is prepared on it. */
  readonly onDatabase?: (db: Db) => void;
}

/** In memory where the machine has such a disk: the tests sync thousands of times, and prove nothing about the disk. */
export function newFolder(prefix: string): string {
  return mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), `kakehashi-${prefix}-`));
}

const identities = [await generateX25519Identity(), await generateX25519Identity()];
/** Of all producers in the tests. */
const recipients = await Promise.all(identities.map((identity) => identityToRecipient(identity)));
export { identities };

const migrations = [keysMigration, settingsMigration, gateMigration, bufferMigration, ledgerMigration] as const;

function siteKeyOf(folder: string): Buffer {
  const path = join(folder, 'site.key');
  if (!existsSync(path)) writeFileSync(path, randomBytes(32), { mode: 0o600 });
  return readFileSync(path);
}

/** What app.ts builds, for these tests. */
export class Flow {
  readonly folder: string;
  readonly options: FlowOptions;
  readonly time: ManualTime;
  readonly store: Store;
  readonly acceptor: Acceptor;
  readonly events: ConnectorEvent[] = [];
  /** Uploads that had to be broken off. */
  readonly aborted: string[] = [];
  room: 'ok' | 'full' = 'ok';
  fullCount = 0;

  constructor(options: FlowOptions = {}) {
    this.options = options;
    this.folder = options.folder ?? newFolder('flow');
    this.time = options.time ?? new ManualTime();
    this.store = this.#assemble(options.producers ?? [ldi]);
    this.acceptor = new Acceptor(this.store, {
      room: () => this.room,
      finish: (after) => this.finish(after),
      onFull: () => void this.fullCount++,
    });
  }

  #assemble(producers: readonly ProducerChoice[]): Store {
    const db = openDatabase(join(this.folder, this.options.database ?? backupDatabase), migrations);
    this.options.onDatabase?.(db);
    const keys = KeyRing.open(db, siteKeyOf(this.folder));
    const settings = new Settings(db);
    const names = new Names(db);
    const register = new Register(db);
    const spool = new Spool(join(this.folder, 'spool'), keys, this.options.recordBytesMax ?? 64 * 1024 * 1024);
    return {
      db,
      keys,
      settings,
      time: this.time,
      facility: '1312345670',
      software: 'kakehashi/test',
      epoch: Number(settings.get('epoch') ?? 1),
      producers: producers.map(({ name }) => ({ id: names.producer(name), name, recipients })),
      holdMs: (this.options.holdDays ?? 45) * dayMs,
      parcelsFolder: join(this.folder, 'parcels'),
      subjects: new Subjects(db, keys, register),
      register,
      gate: new RegisterGate(db, register, this.time, { producers, waitingDays: 31, maxAgeMs: 4 * dayMs }),
      names,
      records: new Records(db, keys, spool),
      deliveries: new Deliveries(db),
      parcels: new Parcels(db),
      retractions: new Retractions(db, keys),
      memory: new SourceMemory(db, keys),
      spool,
      ledger: new Ledger(db, keys),
      journal: new StopJournal(join(this.folder, 'stops.journal'), keys),
      report: (event) => void this.events.push(event),
      reached: this.options.reached ?? (() => undefined),
    };
  }

  /** Breaks off uploads first, then removes files, as app.ts does. */
  async finish({ abort, spool, files }: AfterCommit): Promise<void> {
    this.aborted.push(...abort);
    await this.store.spool.remove(spool);
    for (const pid of files) {
      const parcel = this.store.parcels.byPid(pid);
      if (parcel) rmSync(parcelPath(this.store, parcel), { force: true });
    }
  }

  close(): void {
    this.store.db.close();
  }

  remove(): void {
    if (this.store.db.open) this.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** The same state after a stop, or a crash, of the process. */
  reopen(changes: FlowOptions = {}): Flow {
    if (this.store.db.open) this.close();
    return new Flow({ ...this.options, ...changes, folder: this.folder, time: this.time });
  }

  producer(name = 'ldi'): ProducerRow {
    const found = this.store.producers.find((each) => each.name === name);
    if (!found) throw new Error(`no producer ${name}`);
    return found;
  }

  // The register

  /** A notice text and a filing for one producer, both of long ago, about these items. */
  filed({ name, basis }: ProducerChoice = ldi, items: readonly FiledCategory[] = categories): void {
    const known = this.store.register.noticeVersions().some(({ version }) => version === `notice-${basis}`);
    if (!known)
      addNoticeVersion(this.store, { version: `notice-${basis}`, basis, categories, from: '2026-01-01' }, 'test');
    addFiling(this.store, { producer: name, basis, categories: items, from: '2026-01-01' }, 'test');
  }

  told(patient: string, { basis = 'article-57', on = longAgo }: { basis?: Basis; on?: DayJst } = {}): void {
    notify(this.store, { name: nameOf(patient), version: `notice-${basis}`, on, via: 'test' });
  }

  /** Somebody has looked at the register today. */
  fresh(): void {
    const at = this.time.now();
    this.store.db
      .transaction(() => this.store.register.refresh({ name: 'cli', asOf: at, rowCount: 0 }, at))
      .immediate();
  }

  async stop(patient: string, basis: StopBasis = 'all'): Promise<boolean> {
    const stoppedOn = dayJst(this.time.now());
    const result = recordStop(this.store, { name: nameOf(patient), basis, stoppedOn, via: 'test' });
    await this.finish(result.after);
    return result.isNew;
  }

  withdraw(patient: string, basis: StopBasis = 'all'): number {
    return withdrawStop(this.store, { name: nameOf(patient), basis, via: 'test' });
  }

  refresh(): Promise<number> {
    return refresh(this.store, () => Promise.resolve(), new AbortController().signal);
  }

  // Records

  intake(source = 'ehr-feed'): Intake {
    return this.acceptor.intakeFor(this.store.names.source(source));
  }

  offer(...records: readonly OfferedRecord[]): Promise<readonly OfferResult[]> {
    return this.intake().accept({ records });
  }

  async outcomes(...records: readonly OfferedRecord[]): Promise<string[]> {
    return (await this.offer(...records)).map(({ outcome }) => outcome);
  }

  accept(offer: Offer): Promise<readonly OfferResult[]> {
    return this.intake().accept(offer);
  }

  states(result: OfferResult | undefined): Record<string, string> {
    const head = this.store.records.byRid(Buffer.from(result?.recordId ?? '', 'hex'));
    if (!head) return {};
    const named = new Map(this.store.producers.map(({ id, name }) => [id, name]));
    return Object.fromEntries(
      this.store.deliveries.of(head.id).map(({ producer, state }) => [named.get(producer) ?? String(producer), state]),
    );
  }

  isPresent(result: OfferResult | undefined): boolean {
    return this.store.records.byRid(Buffer.from(result?.recordId ?? '', 'hex'))?.isPresent === 1;
  }

  // Parcels

  async packed(name = 'ldi', lane: Lane = 'text'): Promise<number> {
    const producer = this.producer(name);
    const id = assign(this.store, producer, { lane });
    if (id === undefined) throw new Error('nothing is ready');
    const isPacked = await pack(this.store, producer, id, new AbortController().signal);
    if (!isPacked) throw new Error('nothing was packed');
    return id;
  }

  async publish(parcel: number, name = 'ldi'): Promise<PublishResult['kind']> {
    const result = publish(this.store, this.producer(name), parcel);
    if (result.kind === 'void') await this.finish(result.after);
    return result.kind;
  }

  /** Packed and published. */
  async sealed(name = 'ldi', lane: Lane = 'text'): Promise<Parcel> {
    const id = await this.packed(name, lane);
    const kind = await this.publish(id, name);
    if (kind !== 'published') throw new Error(`the parcel is ${kind}`);
    return this.parcel(id);
  }

  parcel(id: number): Parcel {
    const parcel = this.store.parcels.get(id);
    if (!parcel) throw new Error('no such parcel');
    return parcel;
  }

  /** The producer signs, and the answer is verified and settled like one that came over the line. */
  async answered(parcel: Parcel, status: ReceiptStatus): Promise<void> {
    const producer = producerOfParcel(this, parcel);
    const jws = signReceipt(this.store, producer, parcel, status);
    const receipt = verifyReceipt({
      jws,
      keys: [receiptKey.publicJwk],
      expected: {
        producer: producer.name,
        agent: this.store.facility,
        parcel: () => ({
          parcelId: parcel.pid,
          sequence: parcel.sequence,
          sha256: str(parcel.sha256),
          bytes: num(parcel.bytes),
        }),
        lastReceipt: this.store.parcels.lastReceipt(producer.id),
      },
    });
    await this.finish(settle(this.store, producer, { receipt, jws }));
  }

  /** One record's whole way. */
  async delivered(name = 'ldi'): Promise<Parcel> {
    const parcel = await this.sealed(name);
    await this.answered(parcel, 'stored');
    await this.answered(parcel, 'opened');
    return this.parcel(parcel.id);
  }
}

function producerOfParcel(flow: Flow, parcel: Parcel): ProducerRow {
  return flow.producer(flow.store.names.producers().get(parcel.producer));
}

const receiptKey: SigningKey = newSigningKey();

export function signReceipt(store: Store, producer: ProducerRow, parcel: Parcel, status: ReceiptStatus): string {
  const last = store.parcels.lastReceipt(producer.id);
  const receipt: Receipt = {
    v: 1,
    status,
    producer: producer.name,
    agent: store.facility,
    parcelId: parcel.pid,
    sequence: parcel.sequence,
    sha256: str(parcel.sha256),
    bytes: num(parcel.bytes),
    receiptSequence: (last?.sequence ?? 0) + 1,
    ...(last && { previousReceipt: last.digest }),
    ledgerHead: store.ledger.head(),
    at: '2026-11-23T12:00:00.000+09:00',
    ...(status === 'opened' && { entries: parcel.records }),
    ...(status === 'rejected' && { reason: 'NOT_FOR_US' }),
  };
  return signJws(receiptKey, jwsTypes.receipt, receipt);
}

const str = (text: string | null) => text ?? '';
const num = (value: number | null) => value ?? 0;

export function nameOf(id: string, authority = ''): PatientName {
  return { authority, id: `00${id}`, normalized: id };
}

export interface RecordChoice {
  readonly patient?: string;
  readonly key?: string;
  readonly version?: string;
  readonly category?: Category;
  readonly lane?: Lane;
  readonly body?: string | Uint8Array | AsyncIterable<Uint8Array>;
  readonly prefix?: Uint8Array;
  readonly facts?: Partial<RecordFacts>;
}

/** An offered record: by default a lab result of patient 1. */
export function record(choice: RecordChoice = {}): OfferedRecord {
  const { patient = '1', key = 'HIS|1', version, category = 'lab-result', lane = 'text', body = key, prefix } = choice;
  const facts: RecordFacts = {
    nativeKey: key,
    ...(version !== undefined && { versionKey: version }),
    op: 'INS',
    category,
    lane,
    patients: [nameOf(patient)],
    route: 'mllp',
    mediaType: 'x-application/hl7-v2+er7',
    ...choice.facts,
  };
  return {
    payload: { body: typeof body === 'string' ? Buffer.from(body) : body, ...(prefix && { prefix }) },
    describe: () => facts,
  };
}

/** A merge message: `prior` is from now on `surviving`. */
export function merge(prior: string, surviving: string): OfferedRecord {
  const patients = [nameOf(surviving), nameOf(prior)];
  return record({
    key: `A40|${prior}|${surviving}`,
    category: 'demographics',
    facts: { patients, merge: { prior: nameOf(prior), surviving: nameOf(surviving) } },
  });
}

export function daysBefore(day: DayJst, days: number): DayJst {
  return addDays(day, -days);
}

const statements = new WeakMap<Db, Map<string, Statement<[], Record<string, unknown>>>>();

/** Prepared once a connection: thousands of histories ask the same after every step. */
function prepared(db: Db, sql: string): Statement<[], Record<string, unknown>> {
  const ofDb = statements.get(db) ?? new Map<string, Statement<[], Record<string, unknown>>>();
  statements.set(db, ofDb);
  const statement = ofDb.get(sql) ?? db.prepare<[], Record<string, unknown>>(sql);
  ofDb.set(sql, statement);
  return statement;
}

/** What must hold whatever has happened. Returns every breach in words. */
export function breaches(store: Store): string[] {
  const { db, ledger } = store;
  const found: string[] = [];
  const rows = (sql: string) => prepared(db, sql).all();
  const none = (what: string, sql: string) => {
    for (const row of rows(sql)) found.push(`${what}: ${JSON.stringify(row)}`);
  };
  const needing = `SELECT 1 FROM delivery WHERE delivery.record = record.id
    AND state IN ('held','ready','packed','stored','rejected') AND coalesce(reason, '') <> 'retracted'`;
  none('a payload is gone that is needed', `SELECT id FROM record WHERE wrapped_key IS NULL AND EXISTS (${needing})`);
  none(
    'a payload is there that nobody needs',
    `SELECT id FROM record WHERE wrapped_key IS NOT NULL AND quarantine IS NULL AND NOT EXISTS (${needing})`,
  );
  none(
    'half a record',
    `SELECT id FROM record WHERE (facts IS NULL) = spool
    OR (wrapped_key IS NULL AND (payload IS NOT NULL OR spool = 1)) OR (wrapped_key IS NOT NULL AND (payload IS NULL) <> spool)`,
  );
  none(
    'a packed delivery outside a live parcel',
    `SELECT delivery.record, parcel.state FROM delivery
    LEFT JOIN parcel ON parcel.id = delivery.parcel WHERE delivery.state = 'packed'
    AND coalesce(parcel.state, '') NOT IN ('packing','sealed','uploading','voiding')`,
  );
  none(
    'a stored delivery outside a stored parcel',
    `SELECT delivery.record, parcel.state FROM delivery
    LEFT JOIN parcel ON parcel.id = delivery.parcel WHERE delivery.state = 'stored' AND coalesce(parcel.state, '') <> 'stored'`,
  );
  none(
    'an opened delivery without an opened parcel',
    `SELECT delivery.record, parcel.state FROM delivery
    LEFT JOIN parcel ON parcel.id = delivery.parcel WHERE delivery.state = 'opened' AND coalesce(parcel.state, '') <> 'opened'`,
  );
  none(
    'a waiting delivery in a parcel',
    `SELECT record FROM delivery WHERE state IN ('held','ready') AND parcel IS NOT NULL`,
  );
  none(
    'a stored parcel without its provision record',
    `SELECT pid FROM parcel WHERE state IN ('stored','opened','rejected')
    AND pid NOT IN (SELECT parcel FROM provision)`,
  );
  const reasons = `SELECT reason, count(*) AS n FROM delivery WHERE state = 'held' GROUP BY 1`;
  const heldTally = 'SELECT reason, n FROM held_tally WHERE n <> 0';
  none(
    'a count of what is held that is wrong',
    `SELECT * FROM (${reasons} EXCEPT ${heldTally}) UNION ALL SELECT * FROM (${heldTally} EXCEPT ${reasons})`,
  );
  const counted = `SELECT delivery.producer, record.source, delivery.lane, delivery.state, count(*), sum(delivery.bytes)
    FROM delivery JOIN record ON record.id = delivery.record GROUP BY 1, 2, 3, 4`;
  const kept = 'SELECT producer, source, lane, state, n, bytes FROM tally WHERE n <> 0';
  none('a count too much', `${kept} EXCEPT ${counted}`);
  none('a count too little', `${counted} EXCEPT ${kept}`);
  none(
    'a hole in the sequence',
    // What was published after a backup and before its restore leaves one that is documented: the new epoch.
    `SELECT producer FROM parcel WHERE statement IS NOT NULL GROUP BY producer
    HAVING (count(*) <> max(sequence) AND ${store.epoch} = 1) OR count(DISTINCT sequence) <> count(*)`,
  );
  ledger.verify(witnessedHeads(store));
  return found;
}

import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import { isoJst } from '../base/clock.ts';
import type { Parcel } from '../buffer/parcels.ts';
import type { RecordHead, StoredFacts } from '../buffer/records.ts';
import { isError } from '../model/errors.ts';
import type { FiledCategory } from '../model/category.ts';
import type { SubjectId } from '../model/ports.ts';
import type { SubjectLine } from '../parcel/manifest.ts';
import { type ParcelEntry, packParcel } from '../parcel/pack.ts';
import { laneSuffix } from '../parcel/manifest.ts';
import { voidParcel } from './enforce.ts';
import { nothingAfter, type ProducerRow, type Store } from './store.ts';

/** Where the sealed file of a parcel lies until its receipt. */
export function parcelPath(store: Pick<Store, 'parcelsFolder'>, { pid, lane }: Pick<Parcel, 'pid' | 'lane'>): string {
  return join(store.parcelsFolder, `${pid}${laneSuffix[lane]}`);
}

/**
 * Writes the file of a parcel that was assigned. Holds no transaction: payloads are opened one after another, read
 * once, checked against the digest they were taken with, and sealed to the producer. A record that no longer opens, or
 * that the format cannot carry, is set aside as `DAMAGED`, and the parcel is void: the others travel in the next.
 *
 * Returns false when there is nothing to publish. Crash point: `pack:file-durable` (file there, row not: the parcel is
 * void at start and the file removed).
 */
export async function pack(
  store: Store,
  producer: ProducerRow,
  parcelId: number,
  signal: AbortSignal,
): Promise<boolean> {
  const parcel = store.parcels.get(parcelId);
  if (!parcel || parcel.state !== 'packing') return false;
  const load = new Load(store, producer, parcel);
  try {
    const { bytes, sha256, counts } = await packParcel({
      path: parcelPath(store, parcel),
      lane: parcel.lane,
      recipients: producer.recipients,
      entries: load.entries(),
      trailer: () => load.trailer(),
      signal,
    });
    store.reached('pack:file-durable');
    store.parcels.packed(parcelId, { bytes, sha256, subjects: counts.subjects, provision: load.provision() });
    return true;
  } catch (error) {
    const blamed = load.blame(error);
    if (blamed === undefined) throw error;
    setAside(store, parcelId, blamed);
    return false;
  }
}

/** The record being packed is damaged on our disk: it is shown to an operator, and the parcel is made anew. */
function setAside(store: Store, parcelId: number, record: number): void {
  const at = store.time.now();
  store.db
    .transaction(() => {
      voidParcel(store, parcelId, { reason: 'damaged', at, after: nothingAfter() });
      for (const delivery of store.deliveries.of(record)) {
        if (delivery.state === 'ready' || delivery.state === 'held')
          store.deliveries.move(delivery, 'rejected', 'damaged');
      }
      store.records.markDamaged(record);
      store.ledger.append('quarantine', at, { record, reason: 'DAMAGED' });
    })
    .immediate();
  store.report({ name: 'record.quarantined', code: 'SEAL_BROKEN', numbers: { row: record } });
}

type Line = ParcelEntry['line'];
type Told = ReturnType<Store['gate']['noticeFor']>;

/** What one parcel carries, gathered while its payloads pass by. */
class Load {
  /** Row of the record being read. */
  #current: number | undefined;
  readonly #store: Store;
  readonly #producer: ProducerRow;
  readonly #parcel: Parcel;
  readonly #sources: ReadonlyMap<number, string>;
  readonly #told = new Map<string, Told>();
  readonly #publicIds = new Map<SubjectId, string>();
  readonly #described = new Map<SubjectId, { row: number; facts: StoredFacts; recordId: string }>();
  readonly #merges: SubjectLine[] = [];
  readonly #provided: object[] = [];

  constructor(store: Store, producer: ProducerRow, parcel: Parcel) {
    this.#store = store;
    this.#producer = producer;
    this.#parcel = parcel;
    this.#sources = store.names.sources();
  }

  async *entries(): AsyncGenerator<ParcelEntry> {
    const { deliveries, records } = this.#store;
    for (const delivery of deliveries.ofParcel(this.#parcel.id)) {
      if (delivery.state !== 'packed') continue;
      this.#current = delivery.record;
      const opened = records.opened(delivery.record);
      // A stop took it away while we were packing; publish will find the parcel void.
      if (!opened) continue;
      const { head, facts, body } = opened;
      const line = this.#line(head, facts);
      this.#note(head, facts, line);
      const prefix = facts.prefix === undefined ? {} : { prefix: Buffer.from(facts.prefix, 'base64') };
      yield { line, body: body instanceof Uint8Array ? body : passedOn(body), ...prefix };
    }
    this.#current = undefined;
  }

  /** Row of the record that made packing fail, if it was one: without it the others must not wait for ever. */
  blame(error: unknown): number | undefined {
    if (isError(error, 'SEAL_BROKEN') || isError(error, 'PAYLOAD_MISMATCH')) return this.#current;
    if (!isError(error, 'PARCEL_LINE_INVALID')) return undefined;
    if (error.details['what'] === 'record') return this.#current;
    return [...this.#described.values()][Number(error.details['ordinal']) - 1]?.row;
  }

  #line({ rid, source, subject: whose, category: filed }: RecordHead, facts: StoredFacts): Line {
    const subject = whose as SubjectId;
    // The row's, not the facts': a person may have said what it is when it was let out of quarantine.
    const category = filed as FiledCategory;
    const told = this.#toldOf(subject, category);
    const patient = facts.patients[0];
    return {
      recordId: rid.toString('hex'),
      facility: this.#store.facility,
      ...(patient && { patientId: patient.id, patientIdNormalized: patient.normalized }),
      subjectId: this.#publicId(subject),
      // A parcel whose notice has gone by now is never published: publish asks again.
      basis: told?.basis ?? 'article-57',
      ...(told && { notice: told.notice }),
      category,
      ...travelling(facts),
      source: this.#sources.get(source) ?? '',
      bytes: facts.bodyBytes,
      sha256: facts.sha256,
    };
  }

  /** Asked once a parcel for each person and item: a day's lab results are many of one. */
  #toldOf(subject: SubjectId, category: FiledCategory): Told {
    const key = `${subject} ${category}`;
    if (!this.#told.has(key)) {
      this.#told.set(key, this.#store.gate.noticeFor({ subject, category, producer: this.#producer.name }));
    }
    return this.#told.get(key);
  }

  #publicId(subject: SubjectId): string {
    const known = this.#publicIds.get(subject) ?? this.#store.subjects.publicId(subject);
    this.#publicIds.set(subject, known);
    return known;
  }

  #note({ id: row, subject: whose, also }: RecordHead, facts: StoredFacts, line: Line): void {
    const { recordId } = line;
    const subject = whose as SubjectId;
    const known = this.#described.get(subject);
    if (!known || facts.demographics) this.#described.set(subject, { row, facts, recordId });
    if (facts.merge && also !== null) {
      const into = this.#publicId(subject);
      this.#merges.push({ event: 'merge', subjectId: this.#publicId(also), into, recordId });
    }
    const { subjectId, patientId, category, op, sha256, bytes, basis, notice } = line;
    this.#provided.push({ recordId, subjectId, patientId, category, op, basis, notice, bytes, sha256 });
  }

  trailer() {
    const { ledger, gate, facility, epoch, software, time } = this.#store;
    const { pid, sequence, previous } = this.#parcel;
    const now = isoJst(time.now());
    return {
      subjects: [...this.#describe(), ...this.#merges],
      parcel: {
        parcelId: pid,
        agent: facility,
        epoch,
        sequence,
        ...(previous !== null && { previous }),
        registerVersion: gate.version(),
        ledgerHead: ledger.head(),
        completeThrough: this.#completeThrough(now),
        createdAt: now,
        software,
      },
    };
  }

  *#describe(): Generator<SubjectLine> {
    for (const [subject, { facts, recordId }] of this.#described) {
      const patient = facts.patients[0];
      if (!patient) continue;
      yield {
        subjectId: this.#publicId(subject),
        patientId: patient.id,
        patientIdNormalized: patient.normalized,
        recordId,
        ...this.#filedItems(subject, facts),
      };
    }
  }

  /** Names and the rest only where demographics are filed and notified; insurance is an item of its own. */
  #filedItems(subject: SubjectId, { demographics }: StoredFacts) {
    if (!demographics || !this.#passes(subject, 'demographics')) return {};
    const { insurance, ...person } = demographics;
    return { ...person, ...(insurance && this.#passes(subject, 'insurance') && { insurance: [...insurance] }) };
  }

  #passes(subject: SubjectId, category: FiledCategory): boolean {
    return this.#store.gate.judge({ subject, category, producer: this.#producer.name }).pass;
  }

  /** Everything taken before the oldest record still waiting has left, or has its reason not to. */
  #completeThrough(now: string): Record<string, string> {
    const waiting = (['text', 'image'] as const)
      .map((lane) => this.#store.deliveries.oldestReadyAt(this.#producer.id, lane))
      .filter((at) => at !== undefined);
    const through = waiting.length > 0 ? isoJst(Math.min(...waiting)) : now;
    return Object.fromEntries([...this.#sources.values()].map((source) => [source, through]));
  }

  /** The list the provision record keeps, sealed: what left, of whom, on which notice (Art. 54). */
  provision(): Buffer {
    const lines = this.#provided.map((line) => JSON.stringify(line)).join('\n');
    return this.#store.ledger.sealProvision(this.#parcel.pid, zstdCompressSync(lines));
  }
}

/**
 * Frames of an opened payload, each given back once the next is asked for. Left to the collector, those of an image pile
 * up beside what is being packed, and new memory for each costs as much as opening it.
 */
async function* passedOn(frames: AsyncIterable<Buffer>): AsyncGenerator<Uint8Array> {
  for await (const frame of frames) {
    yield frame;
    if (frame.buffer instanceof ArrayBuffer && frame.length === frame.buffer.byteLength) frame.buffer.transfer(0);
  }
}

/** The fields of records.ndjson that are the facts' own. */
function travelling(facts: StoredFacts) {
  const { nativeKey, versionKey, op, eventAt, route, mediaType, charset, orderNumber } = facts;
  const { studyInstanceUid, seriesInstanceUid, sopInstanceUid, modality, accessionNumber, transferSyntaxUid } = facts;
  const optional = {
    versionKey,
    eventAt,
    charset,
    orderNumber,
    studyInstanceUid,
    seriesInstanceUid,
    sopInstanceUid,
    modality,
    accessionNumber,
    transferSyntaxUid,
  };
  const given = Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined));
  return { nativeKey, op, route, mediaType, ...given };
}

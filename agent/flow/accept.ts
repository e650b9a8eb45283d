import { asBufferError } from '../buffer/buffer-error.ts';
import { nativeOf, ridOf, versionOf } from '../buffer/identity.ts';
import { inlineBytesMax, type Staged } from '../buffer/spool.ts';
import { ConnectorError } from '../model/errors.ts';
import { TallySheet } from '../buffer/tally-sheet.ts';
import type { Intake, Offer, SubjectId, Verdict } from '../model/ports.ts';
import type { Instant, OfferResult, Outcome, Payload, RecordFacts } from '../model/record.ts';
import type { NewDelivery } from '../buffer/deliveries.ts';
import { payloadBytes, type RecordHead } from '../buffer/records.ts';
import type { Category } from '../model/category.ts';
import { enforceStops } from './enforce.ts';
import { isRefusal, judge } from './judge.ts';
import { type AfterCommit, nothingAfter, type ProducerRow, type Store } from './store.ts';

/** Offers committed together at most: what one transaction holds in memory and one crash can roll back. */
const groupOffersMax = 256;
const groupBytesMax = 8 * 1024 * 1024;

interface Source {
  readonly id: number;
  readonly lineage: string;
}

interface StagedRecord {
  readonly facts: RecordFacts;
  readonly staged: Staged;
}

interface Waiting {
  readonly source: Source;
  readonly offer: Offer;
  readonly records: readonly StagedRecord[];
  readonly inlineBytes: number;
  readonly resolve: (results: OfferResult[]) => void;
  readonly reject: (error: unknown) => void;
}

export interface AcceptorOptions {
  /** Asked before an offer is staged: 'full' refuses it without touching the disk. */
  readonly room: () => 'ok' | 'full';
  /** What must happen outside once a transaction has committed. */
  readonly finish: (after: AfterCommit) => Promise<void>;
  /** Told when a commit failed for want of space, so that the reserve can be given back. */
  readonly onFull: () => void;
}

/**
 * Takes offers across the gate into the buffer.
 *
 * One writer, group commit: everything that arrives within one turn of the event loop shares one transaction and so
 * one fsync. No timer is needed: while a commit blocks, the next group gathers in the sockets. Only offers that are
 * fully staged (a spooled one sealed and durable) queue for a commit, so a 2 GB image holds up nobody.
 *
 * Crash points: `accept:staged` (a spool file may be there, its row is not: removed as an orphan at start),
 * `accept:written` (in the transaction: rolled back), `accept:committed` (kept; the sender was not answered, sends
 * again, and is told it is a duplicate).
 */
export class Acceptor {
  readonly #store: Store;
  readonly #options: AcceptorOptions;
  readonly #inTransaction;
  #queue: Waiting[] = [];
  #isScheduled = false;

  constructor(store: Store, options: AcceptorOptions) {
    this.#store = store;
    this.#options = options;
    this.#inTransaction = store.db.transaction((group: readonly Waiting[], work: Work) => {
      const results = group.map((waiting) => this.#write(waiting, work));
      work.sheet.write(store.deliveries);
      store.reached('accept:written');
      return results;
    });
  }

  /** The door of one source. */
  intakeFor(source: Source): Intake {
    const { memory, subjects } = this.#store;
    return {
      accept: (offer) => this.#accept(source, offer),
      wants: (patient, category) => this.#wants(subjects.find(patient), category),
      known: (keys) => keys.map((key) => this.#known(source, key)),
      state: (kind, key) => memory.get(source.id, kind, key),
      states: (kind, { below, limit }) => memory.page(source.id, kind, below, limit),
    };
  }

  async #accept(source: Source, offer: Offer): Promise<OfferResult[]> {
    if (this.#options.room() === 'full' && offer.records.length > 0) {
      throw new ConnectorError('BUFFER_FULL', { reason: 'the disk is nearly full' });
    }
    const staged: Staged[] = [];
    const records: StagedRecord[] = [];
    try {
      for (const record of offer.records) {
        // Nothing is awaited where there is nothing to wait for: messages that arrive together stay together.
        const each = this.#stageInline(record.payload) ?? (await this.#store.spool.stage(record.payload));
        staged.push(each);
        records.push({ staged: each, facts: record.describe() });
      }
    } catch (error) {
      await this.#discard(staged);
      // Our disk's failures are the buffer's by now; what the source's own stream threw is the source's to understand.
      throw error;
    }
    this.#store.reached('accept:staged');
    const inlineBytes = records.reduce((sum, { staged }) => sum + (staged.inline?.length ?? 0), 0);
    return new Promise((resolve, reject) => {
      this.#queue.push({ source, offer, records, inlineBytes, resolve, reject });
      this.#schedule();
    });
  }

  #stageInline({ body, prefix }: Payload): Staged | undefined {
    const isSmall = body instanceof Uint8Array && body.length <= inlineBytesMax;
    return isSmall ? this.#store.spool.stageInline(body, prefix) : undefined;
  }

  async #discard(staged: readonly Staged[]): Promise<void> {
    await this.#store.spool.remove(staged.filter(({ inline }) => !inline).map(({ seal }) => seal.sealId));
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#commitGroup(this.#takeGroup());
      if (this.#queue.length > 0) this.#schedule();
    });
  }

  #takeGroup(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const { inlineBytes } of this.#queue) {
      if (count === groupOffersMax || (count > 0 && bytes + inlineBytes > groupBytesMax)) break;
      bytes += inlineBytes;
      count++;
    }
    return this.#queue.splice(0, count);
  }

  #commitGroup(group: readonly Waiting[]): void {
    if (group.length === 0) return;
    let committed: Committed;
    try {
      committed = this.#commit(group);
    } catch (error) {
      // One bad offer must not turn away the others: each gets a transaction of its own, once.
      if (group.length === 1) this.#fail(group[0] as Waiting, error);
      else for (const waiting of group) this.#commitGroup([waiting]);
      return;
    }
    // From here on nothing may be discarded: the rows are there, and they name the spool files.
    this.#store.reached('accept:committed');
    this.#answer(group, committed);
  }

  #commit(group: readonly Waiting[]): Committed {
    const work: Work = { at: this.#store.time.now(), after: nothingAfter(), sheet: new TallySheet() };
    return { results: this.#inTransaction.immediate(group, work), after: work.after };
  }

  #answer(group: readonly Waiting[], { results, after }: Committed): void {
    const answer = () => {
      for (const [index, { resolve }] of group.entries()) resolve(results[index] as OfferResult[]);
    };
    if (after.spool.length + after.abort.length + after.files.length === 0) answer();
    else this.#options.finish(after).then(answer, (error: unknown) => group.forEach(({ reject }) => reject(error)));
  }

  #fail(waiting: Waiting, error: unknown): void {
    const failure = asBufferError(error);
    if (failure.code === 'BUFFER_FULL') this.#options.onFull();
    this.#discard(waiting.records.map(({ staged }) => staged)).then(
      () => waiting.reject(failure),
      () => waiting.reject(failure),
    );
  }

  #write({ source, offer, records }: Waiting, work: Work): OfferResult[] {
    const { memory } = this.#store;
    const results = records.map((record) => this.#take(source, record, work));
    for (const change of offer.state ?? []) memory.apply(source.id, change);
    for (const gap of offer.gaps ?? []) memory.addGap(source.id, gap, work.at);
    for (const reference of offer.closes ?? []) memory.closeGap(source.id, reference, work.at);
    return results;
  }

  #take(source: Source, { facts, staged }: StagedRecord, work: Work): OfferResult {
    const { keys, records } = this.#store;
    const name = { lineage: source.lineage, nativeKey: facts.nativeKey };
    const native = nativeOf(keys, name);
    const rid = ridOf(keys, native, name, { op: facts.op, sha256: staged.sha256 });
    const outcome = this.#decide({ source, facts, staged, native, rid, existing: records.byRid(rid), work });
    const isStored = outcome === 'kept' || outcome === 'held' || outcome === 'quarantined';
    if (!isStored && !staged.inline) work.after.spool.push(Buffer.from(staged.seal.sealId));
    return { outcome, recordId: rid.toString('hex') };
  }

  #decide(offered: Offered): Outcome {
    const { facts, existing } = offered;
    const people = this.#people(offered);
    if (existing?.isPresent && existing.quarantine !== null) return 'duplicate';
    const verdicts = this.#store.producers.map((producer) => ({
      producer,
      verdict: judge(this.#store, { ...people, category: facts.category }, producer),
    }));
    const open = verdicts.filter(({ verdict }) => !isRefusal(verdict));
    // A known stop comes before everything: not even in quarantine is anything of this person kept.
    if (open.length === 0) return this.#refuse(offered, people);
    if (facts.quarantine) return this.#quarantine(offered, people);
    const wanting = existing ? open.filter(({ producer }) => this.#isWanting(existing, producer)) : open;
    if (existing && wanting.length === 0) return 'duplicate';
    return this.#keep(offered, people, wanting);
  }

  /** A producer that has, or is about to get, this very record does not want it again. */
  #isWanting(existing: RecordHead, producer: ProducerRow): boolean {
    const state = this.#store.deliveries.get({ record: existing.id, producer: producer.id })?.state;
    if (state === undefined) return true;
    if (state === 'stored' || state === 'opened') return false;
    return existing.isPresent === 0 || (state !== 'held' && state !== 'ready' && state !== 'packed');
  }

  #keep(offered: Offered, people: People, wanting: { producer: ProducerRow; verdict: Verdict }[]): Outcome {
    const { memory, records, holdMs } = this.#store;
    const { existing, facts, rid, staged, work } = offered;
    const isPresent = existing?.isPresent === 1;
    const record = existing?.id ?? this.#insert(offered, people);
    if (existing && !isPresent) {
      records.revive(existing.id, { ...people, facts }, staged);
      // If it had been held to its limit and destroyed, what was missing is here again.
      memory.closeGap(existing.source, rid.toString('hex'), work.at);
    }
    const bytes = isPresent ? existing.bytes : payloadBytes(staged);
    for (const { producer, verdict } of wanting) {
      const reason = verdict.pass ? null : verdict.reason;
      const state = verdict.pass ? 'ready' : 'held';
      const until = verdict.pass ? null : work.at + holdMs;
      this.#deliver(offered, { record, producer: producer.id, state, lane: facts.lane, bytes, until, reason });
    }
    // The payload that is there already serves the new delivery; the one just sealed is not needed.
    if (isPresent && !staged.inline) work.after.spool.push(Buffer.from(staged.seal.sealId));
    return wanting.some(({ verdict }) => verdict.pass) ? 'kept' : 'held';
  }

  #deliver({ source, existing, work }: Offered, delivery: NewDelivery): void {
    const { deliveries } = this.#store;
    if (existing && deliveries.get(delivery)) return deliveries.renew(delivery);
    deliveries.add(delivery);
    work.sheet.added(existing?.source ?? source.id, delivery);
  }

  #refuse(offered: Offered, people: People): Outcome {
    const { existing, facts } = offered;
    // Only a tombstone: that this version was seen and refused. No payload, no facts.
    if (existing) return 'refused';
    const record = this.#insert(offered, people, { withPayload: false });
    const ended = { state: 'refused', lane: facts.lane, bytes: 0, until: null, reason: 'stopped' } as const;
    for (const { id: producer } of this.#store.producers) this.#deliver(offered, { record, producer, ...ended });
    return 'refused';
  }

  #quarantine(offered: Offered, people: People): Outcome {
    if (offered.existing?.isPresent) return 'duplicate';
    const { existing, facts, staged } = offered;
    if (existing) this.#store.records.revive(existing.id, { ...people, facts }, staged);
    else this.#insert(offered, people);
    return 'quarantined';
  }

  #insert(offered: Offered, people: People, { withPayload = true } = {}): number {
    const { keys, records } = this.#store;
    const { source, facts, staged, native, rid, work } = offered;
    const version = versionOf(keys, source.lineage, facts.versionKey);
    const row = { rid, source: source.id, native, version, ...people, facts, at: work.at };
    return records.insert(row, withPayload ? staged : undefined);
  }

  /** Finds or makes the subjects a record names, and makes its merge and its links true. */
  #people({ facts, work }: Offered): People {
    const { subjects } = this.#store;
    const [first, second] = facts.patients.map((patient) => subjects.ensure(patient));
    if (first === undefined) return { subject: null, also: null };
    if (facts.quarantine) return { subject: first, also: second ?? null };
    if (facts.merge) {
      const prior = subjects.ensure(facts.merge.prior);
      const surviving = subjects.ensure(facts.merge.surviving);
      if (subjects.unite(prior, surviving, work.at)) this.#united(prior, surviving, work);
    }
    for (const alias of facts.aliases ?? []) {
      const known = subjects.find(alias);
      if (subjects.link(alias, first, work.at)) this.#united(known as SubjectId, first, work);
    }
    return { subject: first, also: second ?? null };
  }

  /** A stop on either of two who became one covers both from this moment. */
  #united(prior: SubjectId, surviving: SubjectId, { at, after }: Work): void {
    const { ledger, subjects } = this.#store;
    ledger.append('merge', at, { prior: subjects.publicId(prior), surviving: subjects.publicId(surviving) });
    const enforced = enforceStops(this.#store, surviving, at);
    after.spool.push(...enforced.spool);
    after.files.push(...enforced.files);
    after.abort.push(...enforced.abort);
  }

  #wants(subject: SubjectId | undefined, category: Category): 'take' | 'defer' | 'never' {
    if (subject === undefined) return 'defer';
    const verdicts = this.#store.producers.map((producer) =>
      judge(this.#store, { subject, also: null, category }, producer),
    );
    if (verdicts.some((verdict) => verdict.pass)) return 'take';
    // Before the first producer is enrolled nobody has said no either.
    return verdicts.length > 0 && verdicts.every(isRefusal) ? 'never' : 'defer';
  }

  #known(source: Source, { nativeKey, versionKey }: { nativeKey: string; versionKey?: string }): KnownState {
    const { keys, records, deliveries } = this.#store;
    const native = nativeOf(keys, { lineage: source.lineage, nativeKey });
    const found = records.byNative(native, versionOf(keys, source.lineage, versionKey));
    if (!found) return 'unknown';
    if (found.isPresent) return 'live';
    const states = deliveries.of(found.id).map(({ state }) => state);
    return states.includes('opened') || states.includes('stored') ? 'delivered' : 'refused';
  }
}

type KnownState = 'live' | 'delivered' | 'refused' | 'unknown';

interface Committed {
  readonly results: readonly OfferResult[][];
  readonly after: AfterCommit;
}

/** One transaction's. */
interface Work {
  readonly at: Instant;
  readonly after: AfterCommit;
  readonly sheet: TallySheet;
}

interface People {
  readonly subject: SubjectId | null;
  readonly also: SubjectId | null;
}

interface Offered extends StagedRecord {
  readonly source: Source;
  readonly native: Buffer;
  readonly rid: Buffer;
  readonly existing: RecordHead | undefined;
  readonly work: Work;
}

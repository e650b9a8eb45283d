/**
 * The pull: which studies there are, whether the gate wants them, and whether they are all here.
 *
 * ```
 *              wants? never ─▶ forgotten
 * discovered ──wants? defer ─▶ deferred ──(asked again at later polls)──┐
 *      └───────wants? take ──▶ manifest, C-MOVE of what is missing ◀────┘
 *                                 │ something still missing ─▶ incomplete (gap; later and later, or by hand)
 *                                 │ all here ─▶ settling ──(the same manifest after `stableFor`)──▶ captured
 * ```
 * A study is captured when two manifests at least `stableFor` apart are equal and the intake knows every instance in
 * them. What a C-MOVE said is told as an event and proves nothing. A captured study whose manifest changes is open
 * again.
 *
 * Remembered, sealed: `study` (open ones, mark: when it is due), `captured` (mark: when it may be forgotten), `missed`
 * (single instances noted when the buffer was full) and `limit` (where this PACS cuts its answers).
 */
import { addDays, dayJst } from '../../base/clock.ts';
import { isError } from '../../model/errors.ts';
import type { GapNote, Offer, PollOccasion, PollTally, Progress, SourceHost, StateChange } from '../../model/ports.ts';
import type { Instant, OfferResult } from '../../model/record.ts';
import type { PatientIdOptions } from '../define.ts';
import { Discoverer, type StudyRow } from './discover.ts';
import { patientName } from './facts.ts';
import { type Manifest, readManifest } from './manifest.ts';
import { hex, type MoveWish, type Pacs } from './pacs.ts';
import type { MissedInstance } from './store.ts';

export interface PullOptions {
  readonly patientId: PatientIdOptions;
  /** Days before today that are looked at in every poll, by Study Date. */
  readonly daysBack: number;
  readonly stableMs: number;
}

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;

/** In one C-MOVE; UIDs of 64 characters then make a key of 3 KiB. */
const moveListMax = 50;

/** An incomplete study is tried again after 10 minutes, 20, 40 … and at the latest after a day. */
const retryMsMin = 10 * minuteMs;
const retryMsMax = dayMs;

/** Deferred studies are asked about at the gate once in this time; each costs 20 µs and a row. */
const deferMs = 12 * hourMs;

/** How long a captured study is known as such after it has left the days looked at. */
const capturedMs = 31 * dayMs;

/** Remembered studies that are read at once. */
const pageRows = 500;

/** Remembered studies that are looked through for incomplete ones when a person asks; later ones wait for their time. */
const byHandMax = 10_000;

/** Nothing is due later than this. */
const always = Number.MAX_SAFE_INTEGER;

interface OpenStudy {
  readonly study: StudyRow;
  readonly why: 'deferred' | 'settling' | 'incomplete';
  readonly hash?: string;
  readonly seenAt?: Instant;
  readonly attempts: number;
}

export class Pull {
  readonly #options: PullOptions;
  readonly #host: SourceHost;
  readonly #pacs: Pacs;
  readonly #discoverer: Discoverer;
  #outcomes = noOutcomes();
  #lastArrivalAt = 0;
  #asked: PollOccasion = 'by-schedule';
  /** Studies this run has met of which something is missing. */
  #incompleteCount = 0;

  constructor(options: PullOptions, host: SourceHost, pacs: Pacs) {
    this.#options = options;
    this.#host = host;
    this.#pacs = pacs;
    this.#discoverer = new Discoverer(pacs, undefined);
  }

  /** Told of every instance that came by C-MOVE. */
  arrived({ outcome }: OfferResult): void {
    this.#outcomes[outcome]++;
    this.#lastArrivalAt = this.#host.clock.monotonic();
  }

  /** @throws ConnectorError PACS_…, BUFFER_FULL, BUFFER_FAILED; what was finished before it stays finished. */
  async run(signal: AbortSignal, progress: Progress, asked: PollOccasion): Promise<PollTally> {
    this.#outcomes = noOutcomes();
    this.#asked = asked;
    this.#incompleteCount = 0;
    let isWhole = false;
    try {
      isWhole = await this.#work(signal, progress);
    } catch (error) {
      // The request at hand was broken off because we were told to end.
      if (!signal.aborted || !isError(error, 'PACS_CUT')) throw error;
    }
    const offered = Object.values(this.#outcomes).reduce((sum, count) => sum + count, 0);
    const isAtEnd = isWhole && !signal.aborted;
    const open = this.#incompleteCount;
    const tally = { offered, outcomes: { ...this.#outcomes }, complete: isAtEnd && open === 0 };
    return isAtEnd && open > 0 ? { ...tally, open } : tally;
  }

  async #work(signal: AbortSignal, progress: Progress): Promise<boolean> {
    if (signal.aborted) return false;
    this.#discoverer.limit ??= readLimit(this.#host);
    await this.#forgetCaptured();
    const { studies, isWhole } = await this.#discover(signal);
    let done = 0;
    for (const study of studies.values()) {
      if (signal.aborted) break;
      await this.#visit(study, signal);
      progress({ done: ++done, total: studies.size, unit: 'studies' });
    }
    if (this.#asked === 'by-hand') await this.#visitIncomplete(studies, signal);
    await this.#visitRemembered(studies, signal);
    await this.#fetchMissed(signal);
    await this.#rememberLimit();
    return isWhole;
  }

  /** The newest day first: today's images are wanted before last week's. */
  async #discover(signal: AbortSignal): Promise<{ studies: Map<string, StudyRow>; isWhole: boolean }> {
    const studies = new Map<string, StudyRow>();
    const today = dayJst(this.#host.clock.now());
    let isWhole = true;
    for (let back = 0; back <= this.#options.daysBack && !signal.aborted; back++) {
      const found = await this.#discoverer.studiesOf(addDays(today, -back), signal);
      for (const study of found.studies) studies.set(study.studyInstanceUid, study);
      isWhole &&= found.isWhole;
    }
    return { studies, isWhole };
  }

  /** Open studies that are due and older than the days looked at. */
  async #visitRemembered(visited: ReadonlyMap<string, StudyRow>, signal: AbortSignal): Promise<void> {
    const { intake, clock } = this.#host;
    const below = clock.now() + 1;
    while (!signal.aborted) {
      const page = intake.states('study', { below, limit: pageRows }).map(({ value }) => parse(value) as OpenStudy);
      if (page.length === 0) return;
      const waiting = page.filter(({ study }) => this.#wish(study) === 'defer');
      // All that still wait in one commit: there may be a hundred thousand.
      if (waiting.length > 0) await this.#commit({ state: waiting.map((open) => this.#openState(open, deferMs)) });
      for (const open of page) {
        const { study } = open;
        if (signal.aborted || waiting.includes(open)) continue;
        if (visited.has(study.studyInstanceUid)) {
          await this.#commit({ state: [this.#openState(open, retryMsMin)] });
        } else {
          await this.#visit(study, signal);
        }
      }
    }
  }

  /** Those older than the days looked at whose next try is not due. */
  async #visitIncomplete(visited: ReadonlyMap<string, StudyRow>, signal: AbortSignal): Promise<void> {
    const { intake, clock } = this.#host;
    const below = clock.now() + retryMsMax + 1;
    const open = intake.states('study', { below, limit: byHandMax }).map(({ value }) => parse(value) as OpenStudy);
    for (const { study, why } of open) {
      if (signal.aborted) return;
      if (why === 'incomplete' && !visited.has(study.studyInstanceUid)) await this.#visit(study, signal);
    }
  }

  #wish(study: StudyRow): 'take' | 'defer' | 'never' {
    const patient = patientName(study.patientId, study.issuer, this.#options.patientId);
    return patient ? this.#host.intake.wants(patient, 'image') : 'defer';
  }

  async #visit(study: StudyRow, signal: AbortSignal): Promise<void> {
    const remembered = this.#host.intake.state('study', study.studyInstanceUid);
    const open = remembered && (parse(remembered.value) as OpenStudy);
    const wish = this.#wish(study);
    const isCaptured = this.#host.intake.state('captured', study.studyInstanceUid) !== undefined;
    if (wish === 'never') {
      const state = [forget('study', study), forget('captured', study)];
      if (open || isCaptured) await this.#commit({ state, closes: [referenceOf(study)] });
    } else if (wish === 'defer') {
      // A register that has gone stale meanwhile makes no gap of what is here.
      if (isCaptured) return;
      const gaps: GapNote[] = open ? [] : [{ code: 'DEFERRED', reference: referenceOf(study) }];
      await this.#commit({ state: [this.#openState({ study, why: 'deferred', attempts: 0 }, deferMs)], gaps });
    } else if (open?.why === 'incomplete' && remembered && !this.#isDue(remembered.mark)) {
      this.#incompleteCount++;
    } else {
      await this.#capture(study, open, signal);
    }
  }

  #isDue(mark: Instant): boolean {
    return this.#asked === 'by-hand' || mark <= this.#host.clock.now();
  }

  async #capture(study: StudyRow, open: OpenStudy | undefined, signal: AbortSignal): Promise<void> {
    const manifest = await readManifest(this.#pacs, this.#discoverer, study, signal);
    let missing: readonly Instance[] = this.#missing(manifest);
    if (missing.length > 0) missing = await this.#fetch(study, manifest, missing, signal);
    if (signal.aborted) return;
    if (missing.length > 0 || !manifest.isWhole) return this.#incomplete(study, open, manifest, missing.length);
    const captured = this.#host.intake.state('captured', study.studyInstanceUid);
    if (captured && (parse(captured.value) as { hash: string }).hash === manifest.hash) return;
    await this.#settle(study, open, manifest);
  }

  /** Whole series where nothing is here yet; what is missing after that, or was before, in lists. */
  async #fetch(
    study: StudyRow,
    manifest: Manifest,
    missing: readonly Instance[],
    signal: AbortSignal,
  ): Promise<readonly Instance[]> {
    const { studyInstanceUid } = study;
    for (const { seriesInstanceUid, sopInstanceUids } of manifest.series) {
      const wanting = missing.filter((instance) => instance.seriesInstanceUid === seriesInstanceUid);
      if (wanting.length === sopInstanceUids.length && wanting.length > 0) {
        await this.#move({ studyInstanceUid, seriesInstanceUid }, signal);
      }
    }
    for (const wish of listsOf(studyInstanceUid, this.#missing(manifest))) await this.#move(wish, signal);
    return this.#missing(manifest);
  }

  async #move(wish: MoveWish, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const result = await this.#pacs.move(wish, () => this.#lastArrivalAt, signal);
    const { completed, failed } = result;
    const numbers = { completed, failed };
    this.#host.report({ name: 'source.move-finished', source: this.#host.name, numbers, word: hex(result.status) });
  }

  #missing(manifest: Manifest): Instance[] {
    const instances = manifest.series.flatMap(({ seriesInstanceUid, sopInstanceUids }) =>
      sopInstanceUids.map((sopInstanceUid) => ({ seriesInstanceUid, sopInstanceUid })),
    );
    const known = this.#host.intake.known(instances.map(({ sopInstanceUid }) => ({ nativeKey: sopInstanceUid })));
    return instances.filter((_, index) => known[index] === 'unknown');
  }

  async #incomplete(
    study: StudyRow,
    open: OpenStudy | undefined,
    { hash, instanceCount }: Manifest,
    missing: number,
  ): Promise<void> {
    this.#incompleteCount++;
    // A person who asks has done something about it: the waiting begins anew.
    const attempts = this.#asked === 'by-hand' ? 1 : (open?.attempts ?? 0) + 1;
    const seenAt = open?.hash === hash && open.seenAt !== undefined ? open.seenAt : this.#host.clock.now();
    const retryMs = Math.min(retryMsMin * 2 ** (attempts - 1), retryMsMax);
    await this.#commit({
      state: [
        this.#openState({ study, why: 'incomplete', hash, seenAt, attempts }, retryMs),
        forget('captured', study),
      ],
      gaps: [{ code: 'INCOMPLETE', reference: referenceOf(study) }],
    });
    const numbers = { missing, expected: instanceCount, attempts };
    this.#host.report({ name: 'source.incomplete', source: this.#host.name, code: 'PACS_INCOMPLETE', numbers });
  }

  async #settle(study: StudyRow, open: OpenStudy | undefined, { hash }: Manifest): Promise<void> {
    const now = this.#host.clock.now();
    const isSame = open?.hash === hash && open.seenAt !== undefined;
    const seenAt = isSame ? open.seenAt : now;
    if (isSame && now - seenAt >= this.#options.stableMs) {
      const captured = stateOf('captured', study, { study: study.studyInstanceUid, hash }, now + this.#capturedMs());
      await this.#commit({ state: [forget('study', study), captured], closes: [referenceOf(study)] });
    } else {
      const settling: OpenStudy = { study, why: 'settling', hash, seenAt, attempts: 0 };
      const dueMs = Math.max(seenAt + this.#options.stableMs - now, 1);
      await this.#commit({ state: [this.#openState(settling, dueMs), forget('captured', study)] });
    }
  }

  #capturedMs(): number {
    return this.#options.daysBack * dayMs + capturedMs;
  }

  async #forgetCaptured(): Promise<void> {
    const { intake, clock } = this.#host;
    const below = clock.now();
    for (;;) {
      const page = intake.states('captured', { below, limit: pageRows });
      if (page.length === 0) return;
      const state = page.map(({ value }) => ({
        kind: 'captured',
        key: (parse(value) as { study: string }).study,
        value: undefined,
      }));
      await this.#commit({ state });
    }
  }

  /** Instances that a full buffer made us note instead of keep. */
  async #fetchMissed(signal: AbortSignal): Promise<void> {
    const { intake, clock } = this.#host;
    const below = clock.now() + 1;
    while (!signal.aborted) {
      const page = intake
        .states('missed', { below, limit: pageRows })
        .map(({ value }) => parse(value) as MissedInstance);
      if (page.length === 0) return;
      const isUnknown = ({ sopInstanceUid }: MissedInstance) =>
        intake.known([{ nativeKey: sopInstanceUid }])[0] === 'unknown';
      const fetchable = page.filter((each) => isUnknown(each) && each.studyInstanceUid && each.seriesInstanceUid);
      for (const study of new Set(fetchable.map(({ studyInstanceUid }) => studyInstanceUid))) {
        const ofStudy = fetchable.filter(({ studyInstanceUid }) => studyInstanceUid === study);
        for (const wish of listsOf(study, ofStudy)) await this.#move(wish, signal);
      }
      const [still, here] = [page.filter(isUnknown), page.filter((each) => !isUnknown(each))];
      await this.#commit({
        state: [
          ...still.map((each) => missedState(each, clock.now() + deferMs)),
          ...here.map(({ sopInstanceUid }) => ({ kind: 'missed', key: sopInstanceUid, value: undefined })),
        ],
        closes: here.map(missedReference),
      });
    }
  }

  async #rememberLimit(): Promise<void> {
    const { limit } = this.#discoverer;
    if (limit === undefined || limit === readLimit(this.#host)) return;
    await this.#commit({ state: [{ kind: 'limit', key: 'rows', value: json(limit), mark: always }] });
  }

  #openState(open: OpenStudy, dueMs: number): StateChange {
    return stateOf('study', open.study, open, this.#host.clock.now() + dueMs);
  }

  async #commit(offer: Omit<Offer, 'records'>): Promise<void> {
    await this.#host.intake.accept({ records: [], ...offer });
  }
}

interface Instance {
  readonly seriesInstanceUid: string;
  readonly sopInstanceUid: string;
}

/** C-MOVEs for single instances, one series each: without all three UIDs a PACS may refuse. */
function* listsOf(studyInstanceUid: string, instances: readonly Instance[]): Generator<MoveWish> {
  for (const seriesInstanceUid of new Set(instances.map((instance) => instance.seriesInstanceUid))) {
    const uids = instances
      .filter((instance) => instance.seriesInstanceUid === seriesInstanceUid)
      .map(({ sopInstanceUid }) => sopInstanceUid);
    for (let at = 0; at < uids.length; at += moveListMax) {
      yield { studyInstanceUid, seriesInstanceUid, sopInstanceUids: uids.slice(at, at + moveListMax) };
    }
  }
}

/** What is noted beside a gap of one instance. */
export function missed(instance: MissedInstance, now: Instant): { gap: GapNote; state: StateChange } {
  return { gap: { code: 'FULL', reference: missedReference(instance) }, state: missedState(instance, now) };
}

function missedReference({ sopInstanceUid }: MissedInstance): string {
  return `instance ${sopInstanceUid}`;
}

function missedState(instance: MissedInstance, mark: Instant): StateChange {
  return { kind: 'missed', key: instance.sopInstanceUid, value: json(instance), mark };
}

function referenceOf({ studyInstanceUid }: StudyRow): string {
  return `study ${studyInstanceUid}`;
}

function stateOf(kind: 'study' | 'captured', study: StudyRow, value: object, mark: Instant): StateChange {
  return { kind, key: study.studyInstanceUid, value: json(value), mark };
}

function forget(kind: 'study' | 'captured', study: StudyRow): StateChange {
  return { kind, key: study.studyInstanceUid, value: undefined };
}

function readLimit({ intake }: SourceHost): number | undefined {
  const state = intake.state('limit', 'rows');
  return state && (parse(state.value) as number);
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

/** Only what `json` made and the intake kept sealed. */
function parse(value: Uint8Array): unknown {
  return JSON.parse(Buffer.from(value).toString());
}

function noOutcomes(): Record<OfferResult['outcome'], number> {
  return { kept: 0, held: 0, refused: 0, quarantined: 0, duplicate: 0 };
}

import { dayJst, isoJst } from '../base/clock.ts';
import type { StopBasis } from '../gate/register.ts';
import type { SubjectId } from '../model/ports.ts';
import type { DayJst, Instant, PatientName } from '../model/record.ts';
import { enforceStops } from './enforce.ts';
import { type AfterCommit, allAfter, nothingAfter, type Store } from './store.ts';

export interface StopRequest {
  readonly name: PatientName;
  readonly basis: StopBasis;
  /** The day the patient asked. A day in the future blocks from now on all the same. */
  readonly stoppedOn: DayJst;
  /** Who entered it: a feed, or the account that ran the command. */
  readonly via: string;
}

export interface StopResult {
  /** False when a stop on this basis was in force already. */
  readonly isNew: boolean;
  readonly subject: SubjectId;
  readonly after: AfterCommit;
}

/**
 * A patient has said no (Art. 53, REQ-STOP-1). When the transaction has committed nothing of theirs passes the gate
 * any more; whoever calls this breaks off the uploads named in `after.abort` before answering anybody.
 *
 * Crash points: `stop:journaled` (in the journal, not in the database: replayed at start), `stop:written` (rolled
 * back, and replayed), `stop:committed` (in force; uploads ended with the process, and are voided by the next run).
 */
export function recordStop(store: Store, request: StopRequest): StopResult {
  return recordStops(store, [request])[0] as StopResult;
}

/** The same for several, with one sync of the journal and one of the database: all of them are in force, or none. */
export function recordStops(store: Store, requests: readonly StopRequest[]): StopResult[] {
  const at = store.time.now();
  store.journal.append(
    ...requests.map(({ name, basis, stoppedOn }) => ({ act: 'stop', name, basis, on: stoppedOn, at }) as const),
  );
  store.reached('stop:journaled');
  const results = store.db
    .transaction(() => {
      const all = requests.map((request) => enforce(store, request, at));
      store.reached('stop:written');
      return all;
    })
    .immediate();
  store.reached('stop:committed');
  return results;
}

function enforce(store: Store, { name, basis, stoppedOn, via }: StopRequest, at: Instant): StopResult {
  const subject = store.subjects.ensure(name);
  const id = store.register.addStop({ subject, basis, stoppedOn }, at);
  if (id === undefined) return { isNew: false, subject, after: nothingAfter() };
  const body = { stop: id, subject: store.subjects.publicId(subject), patientId: name.id, basis, stoppedOn, via };
  store.ledger.append('stop', at, body);
  return { isNew: true, subject, after: enforceStops(store, subject, at) };
}

/**
 * The patient has taken the stop back. What was destroyed stays so; records offered again from now on are judged anew.
 * Returns how many stops ended.
 */
export function withdrawStop(store: Store, request: { name: PatientName; basis: StopBasis; via: string }): number {
  const { name, basis, via } = request;
  const at = store.time.now();
  const subject = store.subjects.find(name);
  if (subject === undefined) return 0;
  for (const ended of endingStops(store, subject, basis)) {
    store.journal.append({ act: 'withdraw', ...ended, on: dayJst(at), at });
  }
  return store.db
    .transaction(() => {
      const count = store.register.withdrawStops(store.subjects.family(subject), basis, at);
      const body = { subject: store.subjects.publicId(subject), patientId: name.id, basis, count, via };
      if (count > 0) store.ledger.append('withdraw', at, body);
      return count;
    })
    .immediate();
}

/**
 * Each stop that a withdrawal ends, by every name it may stand under in the journal: a person who stopped under one
 * name and one basis may withdraw under another name and all of them, and must not be stopped again by a replay.
 */
function endingStops(store: Store, subject: SubjectId, basis: StopBasis): { name: PatientName; basis: StopBasis }[] {
  return store.subjects.family(subject).flatMap((member) =>
    store.register
      .stops(member)
      .filter((stop) => stop.withdrawnAt === null && (basis === 'all' || stop.basis === basis))
      .flatMap((stop) => store.subjects.names(member).map((name) => ({ name, basis: stop.basis }))),
  );
}

/**
 * At start, and after a restore: whatever the journal knows and the database does not is made true. Returns how many
 * stops were missing.
 */
export function replayStops(store: Store): { readonly count: number; readonly after: AfterCommit } {
  const last = new Map<string, { name: PatientName; basis: StopBasis; isStopped: boolean; on: DayJst }>();
  for (const { act, name, basis, on } of store.journal.read()) {
    const key = JSON.stringify([name.authority, name.normalized, basis]);
    last.set(key, { name, basis, on, isStopped: act === 'stop' });
  }
  const results: StopResult[] = [];
  for (const { name, basis, on, isStopped } of last.values()) {
    if (!isStopped || isInForce(store, name, basis)) continue;
    results.push(recordStop(store, { name, basis, stoppedOn: on, via: `journal ${isoJst(store.time.now())}` }));
  }
  return { count: results.length, after: allAfter(results.map(({ after }) => after)) };
}

function isInForce(store: Store, name: PatientName, basis: StopBasis): boolean {
  const subject = store.subjects.find(name);
  if (subject === undefined) return false;
  return store.register.stops(subject).some((stop) => stop.basis === basis && stop.withdrawnAt === null);
}

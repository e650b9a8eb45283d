import { type JudgedDelivery, needsPayload } from '../buffer/deliveries.ts';
import type { Instant } from '../model/record.ts';
import { isGlobal } from '../gate/gate.ts';
import { judge } from './judge.ts';
import { type AfterCommit, nothingAfter, producerOf, type Store } from './store.ts';

/** Deliveries judged in one transaction: about 20 ms, so that an ACK never waits longer for the writer. */
const sliceRows = 1_000;

/**
 * Judges every held delivery anew, in slices, because the register, the day or the clock's trust has changed; ready
 * ones too where a filing may have ended. `held` and `ready` are only a hint of what to pack: publish decides.
 *
 * `pause` is awaited between slices, so that intake and uploads go on. Returns how many changed their state.
 */
export async function refresh(store: Store, pause: () => Promise<void>, signal: AbortSignal): Promise<number> {
  let changed = 0;
  for (const state of ['held', 'ready'] as const) {
    for (let after = 0; !signal.aborted; ) {
      const page = store.deliveries.page(state, after, sliceRows);
      const last = page.at(-1);
      if (!last) break;
      changed += store.db.transaction(() => page.filter((delivery) => rejudge(store, delivery)).length).immediate();
      // Two producers of one record may lie on both sides of a slice's end; its second half is seen next time.
      after = page.length < sliceRows ? last.record : Math.max(after + 1, last.record - 1);
      await pause();
    }
  }
  return changed;
}

/** Judges the held and ready deliveries of a few subjects at once: a notice or a withdrawal has come in for them. */
export function refreshSubjects(store: Store, subjects: readonly number[]): number {
  let changed = 0;
  for (const subject of subjects) {
    for (const record of store.records.ofSubject(subject)) {
      for (const delivery of store.deliveries.of(record.id)) {
        if (delivery.state !== 'held' && delivery.state !== 'ready') continue;
        if (rejudge(store, { ...delivery, subject: record.subject, also: record.also, category: record.category })) {
          changed++;
        }
      }
    }
  }
  return changed;
}

function rejudge(store: Store, delivery: JudgedDelivery): boolean {
  const producer = producerOf(store, delivery.producer);
  if (!producer) return false;
  const verdict = judge(store, delivery, producer);
  // Pausing everybody is not a reason to move a million rows to and fro.
  if (isGlobal(verdict)) return false;
  if (verdict.pass) {
    if (delivery.state === 'ready') return false;
    store.deliveries.move(delivery, 'ready');
    return true;
  }
  if (verdict.act === 'refuse') {
    store.deliveries.move(delivery, 'stopped', 'stopped');
    return true;
  }
  return holdAgain(store, delivery, verdict.reason);
}

function holdAgain(store: Store, pair: JudgedDelivery, reason: string): boolean {
  const delivery = store.deliveries.get(pair);
  if (!delivery || (delivery.state === 'held' && delivery.reason === reason)) return false;
  // One that was ready has its time to be held before it; what is left of an older one might be nothing.
  const until = delivery.state === 'held' ? delivery.until : store.time.now() + store.holdMs;
  store.deliveries.renew({ ...delivery, state: 'held', until, reason });
  return delivery.state !== 'held';
}

/**
 * Destroys what was held to its limit (`hold.days`), each with a ledger entry and a gap, one slice a call. Returns how
 * many; zero means done.
 */
export function expire(store: Store, now: Instant): { readonly count: number; readonly after: AfterCommit } {
  const after = nothingAfter();
  const count = store.db
    .transaction(() => {
      const expired = store.deliveries.expired(now, sliceRows);
      for (const pair of expired) {
        store.deliveries.move(pair, 'expired', 'expired');
        const others = store.deliveries.of(pair.record).some(needsPayload);
        const record = store.records.head(pair.record);
        if (others || !record) continue;
        const spooled = store.records.destroy(pair.record);
        if (spooled) after.spool.push(spooled);
        store.memory.addGap(record.source, { code: 'EXPIRED', reference: record.rid.toString('hex') }, now);
      }
      if (expired.length > 0) store.ledger.append('expired', now, { deliveries: expired.length });
      return expired.length;
    })
    .immediate();
  return { count, after };
}

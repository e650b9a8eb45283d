import assert from 'node:assert';
import { dayJst, isoJst } from '../base/clock.ts';
import { signJws } from '../base/jws.ts';
import type { DeliveryPair } from '../buffer/deliveries.ts';
import type { Parcel } from '../buffer/parcels.ts';
import type { HoldReason, Verdict } from '../model/ports.ts';
import { jwsTypes, type ParcelStatement } from '../model/wire.ts';
import { merkleRoot } from '../ledger/ledger.ts';
import { voidParcel } from './enforce.ts';
import { pausedBy } from './epoch.ts';
import { Docket } from './judge.ts';
import { type AfterCommit, nothingAfter, type ProducerRow, type Store } from './store.ts';

export type PublishResult =
  | { readonly kind: 'published' }
  /** Nobody's data may leave just now; the file waits as it is. */
  | { readonly kind: 'paused'; readonly reason: HoldReason | 'restored' }
  | { readonly kind: 'void'; readonly after: AfterCommit };

/**
 * Asks the gate about everyone in a packed parcel, and if all may go, makes it known: ledger entry, signed statement,
 * state `sealed`, in one transaction with the judgement. Anyone who may not voids the file and frees the others.
 *
 * Crash points: `publish:written` (rolled back; void at start), `publish:committed` (sealed; the next run uploads it).
 */
export function publish(store: Store, producer: ProducerRow, parcelId: number): PublishResult {
  const result = store.db
    .transaction((): PublishResult => {
      const parcel = store.parcels.get(parcelId);
      if (!parcel || parcel.state !== 'packing') return { kind: 'void', after: leftOver(parcel) };
      assert(parcel.sha256 !== null, 'a parcel is published after it was packed');
      const judgement = judgeParcel(store, producer, parcel);
      if (judgement.kind !== 'go') return judgement;
      announce(store, parcel);
      store.reached('publish:written');
      return { kind: 'published' };
    })
    .immediate();
  store.reached('publish:committed');
  return result;
}

/**
 * The question before each part of an upload. Cheap while neither the register nor the day has changed since the
 * parcel was judged last; a parcel somebody has stopped is `voiding` by then and gets 'void'.
 */
export function permit(store: Store, producer: ProducerRow, pid: string): 'go' | 'pause' | 'void' {
  return store.db
    .transaction(() => {
      const parcel = store.parcels.byPid(pid);
      if (!parcel || (parcel.state !== 'sealed' && parcel.state !== 'uploading')) return 'void';
      if (pausedBy(store)) return 'pause';
      const today = dayJst(store.time.now());
      if (parcel.registerVersion === store.gate.version() && parcel.judgedOn === today) return 'go';
      const judgement = judgeParcel(store, producer, parcel);
      return judgement.kind === 'paused' ? 'pause' : judgement.kind;
    })
    .immediate();
}

/** A stop voided it in the very moment its file became durable: nobody else will remove that file. */
function leftOver(parcel: Parcel | undefined): AfterCommit {
  return parcel?.state === 'void' ? { ...nothingAfter(), files: [parcel.pid] } : nothingAfter();
}

type Judgement = { readonly kind: 'go' } | Exclude<PublishResult, { kind: 'published' }>;

function judgeParcel(store: Store, producer: ProducerRow, parcel: Parcel): Judgement {
  const paused = pausedBy(store);
  if (paused) return { kind: 'paused', reason: paused };
  const at = store.time.now();
  const docket = new Docket(store, producer);
  const barred = store.deliveries
    .judgedOfParcel(parcel.id)
    .map((delivery) => ({ delivery, verdict: docket.judge(delivery) }))
    // One that has ended while its parcel has not should not be; were it so, the file would still hold that person.
    .filter(({ delivery, verdict }) => !verdict.pass || delivery.state !== 'packed');
  if (barred.length === 0) {
    store.parcels.judged(parcel.id, store.gate.version(), dayJst(at));
    return { kind: 'go' };
  }
  const after = nothingAfter();
  for (const { delivery, verdict } of barred) bar(store, parcel, delivery, verdict);
  voidParcel(store, parcel.id, { reason: 'barred', at, after });
  return { kind: 'void', after };
}

/**
 * Whoever is stopped is stopped now. Whoever must be held is held only if the parcel was never published: one that may
 * have arrived keeps its deliveries until the producer has said what became of it.
 */
function bar(store: Store, parcel: Parcel, pair: DeliveryPair, verdict: Verdict): void {
  if (verdict.pass) return;
  if (verdict.act === 'refuse') return store.deliveries.move(pair, 'stopped', 'stopped');
  const delivery = store.deliveries.get(pair);
  if (delivery?.state !== 'packed' || parcel.state !== 'packing') return;
  store.deliveries.renew({
    ...delivery,
    state: 'held',
    until: store.time.now() + store.holdMs,
    reason: verdict.reason,
  });
}

function announce(store: Store, parcel: Parcel): void {
  const { deliveries, facility, epoch, gate, keys, ledger, parcels, records, time } = store;
  const packed = deliveries.ofParcel(parcel.id).filter(({ state }) => state === 'packed');
  const leaves = packed.map(({ record }) => records.head(record)?.rid ?? Buffer.alloc(0));
  const at = time.now();
  const ledgerHead = ledger.append('publish', at, {
    parcel: parcel.pid,
    producer: store.producers.find(({ id }) => id === parcel.producer)?.name,
    sequence: parcel.sequence,
    records: packed.length,
    merkleRoot: merkleRoot(leaves),
    sha256: parcel.sha256,
    registerVersion: gate.version(),
  });
  const statement: ParcelStatement = {
    v: 1,
    parcelId: parcel.pid,
    agent: facility,
    epoch,
    sequence: parcel.sequence,
    ...(parcel.previous !== null && { previous: parcel.previous }),
    lane: parcel.lane,
    suite: 'age-v1',
    bytes: parcel.bytes as number,
    sha256: parcel.sha256 as string,
    counts: { records: packed.length, subjects: parcel.subjects as number },
    registerVersion: gate.version(),
    ledgerHead,
    createdAt: isoJst(at),
  };
  parcels.published(parcel.id, { statement: signJws(keys.signing, jwsTypes.parcel, statement), at });
}

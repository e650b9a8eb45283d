import type { RecordHead } from '../buffer/records.ts';
import { type Delivery, needsPayload, retracted } from '../buffer/deliveries.ts';
import { isoJst } from '../base/clock.ts';
import type { SubjectId } from '../model/ports.ts';
import type { Instant } from '../model/record.ts';
import { isRefusal, judge } from './judge.ts';
import { type AfterCommit, nothingAfter, type ProducerRow, type Store } from './store.ts';

/**
 * Makes a stop true for everything this person's records are on the way to. Belongs inside the transaction that made
 * the stop (or the merge that spread one): deliveries end as `stopped`, parcels that hold them become void, what was
 * delivered is retracted, and payloads nobody else may have are destroyed.
 */
export function enforceStops(store: Store, subject: SubjectId, at: Instant): AfterCommit {
  const after = nothingAfter();
  const delivered = new Map<ProducerRow, Retracted>();
  for (const member of store.subjects.family(subject)) {
    for (const record of store.records.ofSubject(member)) enforceOn(store, record, { at, after, delivered });
  }
  for (const [producer, retracted] of delivered) retract(store, producer, subject, retracted, at);
  return after;
}

interface Retracted {
  readonly recordIds: string[];
  readonly parcelIds: Set<string>;
}

interface Enforcement {
  readonly at: Instant;
  readonly after: AfterCommit;
  readonly delivered: Map<ProducerRow, Retracted>;
}

function enforceOn(store: Store, record: RecordHead, enforcement: Enforcement): void {
  const refusing = store.producers.filter((producer) => isRefusal(judge(store, record, producer)));
  if (refusing.length === 0) return;
  const isForAll = refusing.length === store.producers.length;
  for (const delivery of store.deliveries.of(record.id)) {
    const producer = refusing.find(({ id }) => id === delivery.producer);
    if (producer) stopDelivery(store, record, delivery, producer, enforcement);
    // A producer that left the configuration is owed nothing, and might come back.
    else if (isForAll && hasNotLeft(delivery)) endDelivery(store, delivery, enforcement);
  }
  const isQuarantined = record.quarantine !== null && !isForAll;
  if (record.isPresent === 0 || isQuarantined || store.deliveries.of(record.id).some(needsPayload)) return;
  const spooled = store.records.destroy(record.id);
  if (spooled) enforcement.after.spool.push(spooled);
}

/** Nobody has confirmed to have it, or nobody can open it: it can simply end. */
function hasNotLeft({ state }: Delivery): boolean {
  return state === 'held' || state === 'ready' || state === 'packed' || state === 'rejected';
}

function endDelivery(store: Store, delivery: Delivery, { at, after }: Enforcement): void {
  store.deliveries.move(delivery, 'stopped', 'stopped');
  if (delivery.state === 'packed' && delivery.parcel !== null) {
    voidParcel(store, delivery.parcel, { reason: 'stopped', at, after });
  }
}

function stopDelivery(
  store: Store,
  record: RecordHead,
  delivery: Delivery,
  producer: ProducerRow,
  enforcement: Enforcement,
): void {
  const { delivered } = enforcement;
  if (hasNotLeft(delivery)) {
    endDelivery(store, delivery, enforcement);
    if (!mayHaveLeftBefore(store, record)) return;
    store.deliveries.move(delivery, 'stopped', retracted);
  } else {
    if ((delivery.state !== 'stored' && delivery.state !== 'opened') || delivery.reason === retracted) return;
    store.deliveries.move(delivery, delivery.state, retracted);
  }
  const entry = delivered.get(producer) ?? { recordIds: [], parcelIds: new Set<string>() };
  entry.recordIds.push(record.rid.toString('hex'));
  const pid = delivery.parcel === null ? undefined : store.parcels.get(delivery.parcel)?.pid;
  if (pid) entry.parcelIds.add(pid);
  delivered.set(producer, entry);
}

/**
 * A record that is older than this epoch may have been delivered by the machine that was lost, between the backup and
 * its loss. To retract what a producer never had is harmless. An epoch is the second in which it began; the first is 1.
 */
function mayHaveLeftBefore({ epoch }: Store, { at }: RecordHead): boolean {
  return at < epoch * 1000;
}

/**
 * Takes a parcel back. One that is still being packed is void at once and frees the others in it; one that was
 * published is `voiding` until the producer has answered DELETE, because it may already have arrived.
 */
export function voidParcel(
  store: Store,
  parcelId: number,
  { reason, at, after }: { reason: string; at: Instant; after: AfterCommit },
): void {
  const parcel = store.parcels.get(parcelId);
  if (!parcel) return;
  if (parcel.state === 'packing') {
    store.parcels.move(parcel.id, 'void', { at, reason });
    freePacked(store, parcel.id);
    store.ledger.append('void', at, { parcel: parcel.pid, reason, sent: 0 });
    after.files.push(parcel.pid);
    after.abort.push(parcel.pid);
  } else if (parcel.state === 'sealed' || parcel.state === 'uploading') {
    store.parcels.move(parcel.id, 'voiding', { reason });
    after.abort.push(parcel.pid);
  }
}

/** Deliveries that were only fellow travellers may be packed anew. */
export function freePacked(store: Store, parcelId: number): void {
  for (const delivery of store.deliveries.ofParcel(parcelId)) {
    if (delivery.state === 'packed') store.deliveries.move(delivery, 'ready');
  }
}

/** Ids of a kind in one message: as many of both, encrypted and signed, stay below the 64 KiB either end reads. */
const retractionIdsMax = 400;

/** Notes that a producer must be told; `flow/shipping` signs, encrypts and sends it until it is acknowledged. */
export function retract(store: Store, producer: ProducerRow, subject: SubjectId, what: Retracted, at: Instant): void {
  const family = store.subjects.family(subject);
  const person = {
    subjectIds: family.map((member) => store.subjects.publicId(member)),
    patientIds: family.flatMap((member) => store.subjects.names(member).map(({ id }) => id)),
    effectiveAt: isoJst(at),
  };
  const parcelIds = [...what.parcelIds];
  for (let from = 0; from < Math.max(what.recordIds.length, parcelIds.length); from += retractionIdsMax) {
    const recordIds = what.recordIds.slice(from, from + retractionIdsMax);
    const parcels = parcelIds.slice(from, from + retractionIdsMax);
    const to = { producer: producer.id, subject, at };
    const retraction = store.retractions.add(to, { ...person, recordIds, parcelIds: parcels });
    store.ledger.append('retraction', at, {
      retraction,
      producer: producer.name,
      subject: store.subjects.publicId(subject),
      records: recordIds.length,
      parcels,
    });
  }
}

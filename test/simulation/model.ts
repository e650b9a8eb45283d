/**
 * What the flow promises, in memory and without any of its code: no database, no transactions, no files. Written from
 * the design and from the law; where the product and this differ, one of them is wrong.
 */
export type Producer = 'ldi' | 'anon';
export type Item = 'lab-result' | 'image' | 'demographics';
export type StopBasis = 'article-57' | 'article-52' | 'all';
type State = 'held' | 'ready' | 'packed' | 'stored' | 'opened' | 'stopped' | 'refused' | 'expired' | 'rejected';
type ParcelState = 'packing' | 'sealed' | 'voiding' | 'void' | 'stored' | 'opened' | 'rejected';
type Verdict = 'pass' | 'hold' | 'refuse';

export const basisOf = { ldi: 'article-57', anon: 'article-52' } as const;
export const producers = ['ldi', 'anon'] as const;

/** Which items a notice text speaks of. */
export const textItems: Readonly<Record<string, readonly Item[]>> = {
  all: ['lab-result', 'image', 'demographics'],
  lab: ['lab-result'],
};

export interface DeliveryModel {
  state: State;
  parcel: ParcelModel | undefined;
  heldUntil: number;
  isRetracted: boolean;
}

export interface RecordModel {
  readonly key: string;
  readonly people: readonly string[];
  readonly item: Item;
  readonly deliveries: Map<Producer, DeliveryModel>;
}

export interface ParcelModel {
  readonly row: number;
  readonly producer: Producer;
  state: ParcelState;
  hasFile: boolean;
  hasLeftWhole: boolean;
}

const waitingDays = 31;
const holdDays = 45;
const freshDays = 4;

const waiting: ReadonlySet<State> = new Set(['held', 'ready', 'rejected']);
const needing: ReadonlySet<State> = new Set(['held', 'ready', 'packed', 'stored', 'rejected']);

export class Model {
  day = 0;
  isClockTrusted = true;
  refreshedOn = 0;
  readonly records = new Map<string, RecordModel>();
  readonly parcels: ParcelModel[] = [];
  /** Producer and record, each at most once. */
  readonly retractions: string[] = [];
  readonly #notices: { patient: string; basis: string; items: readonly Item[]; day: number }[] = [];
  readonly #filings: { producer: Producer; items: readonly Item[]; from: number }[] = [];
  #stops: { patient: string; basis: StopBasis }[] = [];
  readonly #family = new Map<string, string>();

  // Who is who

  rootOf(patient: string): string {
    const parent = this.#family.get(patient);
    return parent === undefined ? patient : this.rootOf(parent);
  }

  #isKin(a: string, b: string): boolean {
    return this.rootOf(a) === this.rootOf(b);
  }

  #unite(prior: string, surviving: string): void {
    if (this.#isKin(prior, surviving)) return;
    this.#family.set(this.rootOf(prior), this.rootOf(surviving));
    this.#enforce(surviving);
  }

  // The law

  paused(): boolean {
    return !this.isClockTrusted || this.day - this.refreshedOn > freshDays;
  }

  isStopped(patient: string, producer: Producer): boolean {
    const covers = (basis: StopBasis) => basis === 'all' || basis === basisOf[producer];
    return this.#stops.some((stop) => covers(stop.basis) && this.#isKin(stop.patient, patient));
  }

  #judgeOne(patient: string, item: Item, producer: Producer): Verdict {
    if (this.isStopped(patient, producer)) return 'refuse';
    if (this.paused()) return 'hold';
    const isTold = this.#notices.some(
      ({ patient: who, basis, items, day }) =>
        basis === basisOf[producer] &&
        items.includes(item) &&
        day + waitingDays + 1 <= this.day &&
        this.#isKin(who, patient),
    );
    const inForce = this.#filings
      .filter(({ producer: whom, from }) => whom === producer && from <= this.day)
      .toSorted((a, b) => a.from - b.from)
      .at(-1);
    return isTold && inForce?.items.includes(item) === true ? 'pass' : 'hold';
  }

  judge({ people, item }: Pick<RecordModel, 'people' | 'item'>, producer: Producer): Verdict {
    const verdicts = people.map((patient) => this.#judgeOne(patient, item, producer));
    if (verdicts.includes('refuse')) return 'refuse';
    return verdicts.includes('hold') ? 'hold' : 'pass';
  }

  // The register

  file(producer: Producer, items: readonly Item[], from: number): void {
    this.#filings.push({ producer, items, from });
    this.refreshedOn = this.day;
  }

  tell(patient: string, basis: string, text: string, day: number): void {
    const items = textItems[text] ?? [];
    this.#notices.push({ patient, basis, items, day });
    this.refreshedOn = this.day;
    for (const record of this.#recordsOf(patient)) this.#rejudge(record);
  }

  stop(patient: string, basis: StopBasis): void {
    if (this.#stops.some((stop) => stop.patient === patient && stop.basis === basis)) return;
    this.#stops.push({ patient, basis });
    this.#enforce(patient);
  }

  withdraw(patient: string, basis: StopBasis): void {
    this.#stops = this.#stops.filter(
      (stop) => !(this.#isKin(stop.patient, patient) && (basis === 'all' || stop.basis === basis)),
    );
  }

  #recordsOf(patient: string): RecordModel[] {
    return [...this.records.values()].filter(({ people }) => people.some((who) => this.#isKin(who, patient)));
  }

  #enforce(patient: string): void {
    for (const record of this.#recordsOf(patient)) {
      for (const [producer, delivery] of record.deliveries) {
        if (this.judge(record, producer) === 'refuse') this.#stopDelivery(record, producer, delivery);
      }
    }
  }

  #stopDelivery(record: RecordModel, producer: Producer, delivery: DeliveryModel): void {
    if (waiting.has(delivery.state)) {
      delivery.state = 'stopped';
    } else if (delivery.state === 'packed') {
      delivery.state = 'stopped';
      if (delivery.parcel) this.#takeBack(delivery.parcel);
    } else if (delivery.state === 'stored' || delivery.state === 'opened') {
      this.#retract(record, producer, delivery);
    }
  }

  #retract(record: RecordModel, producer: Producer, delivery: DeliveryModel): void {
    if (delivery.isRetracted) return;
    delivery.isRetracted = true;
    this.retractions.push(`${producer} ${record.key}`);
  }

  // Accept

  accept(offered: Pick<RecordModel, 'key' | 'people' | 'item'>, merge?: { prior: string; surviving: string }): string {
    if (merge) this.#unite(merge.prior, merge.surviving);
    const existing = this.records.get(offered.key);
    const record = existing ?? { ...offered, deliveries: new Map<Producer, DeliveryModel>() };
    const verdicts = producers.map((producer) => ({ producer, verdict: this.judge(record, producer) }));
    const open = verdicts.filter(({ verdict }) => verdict !== 'refuse');
    this.records.set(offered.key, record);
    if (open.length === 0) {
      if (!existing) for (const producer of producers) record.deliveries.set(producer, this.#delivery('refused'));
      return 'refused';
    }
    const wanting = open.filter(({ producer }) => this.#isWanting(record, producer));
    if (wanting.length === 0) return 'duplicate';
    for (const { producer, verdict } of wanting) {
      record.deliveries.set(producer, this.#delivery(verdict === 'pass' ? 'ready' : 'held'));
    }
    return wanting.some(({ verdict }) => verdict === 'pass') ? 'kept' : 'held';
  }

  #delivery(state: State): DeliveryModel {
    return { state, parcel: undefined, heldUntil: this.day + holdDays, isRetracted: false };
  }

  #isWanting({ deliveries }: RecordModel, producer: Producer): boolean {
    const state = deliveries.get(producer)?.state;
    return state === undefined || !['stored', 'opened', 'held', 'ready', 'packed'].includes(state);
  }

  isPresent({ deliveries }: RecordModel): boolean {
    return [...deliveries.values()].some(({ state, isRetracted }) => needing.has(state) && !isRetracted);
  }

  // Time

  refresh(): void {
    for (const record of this.records.values()) this.#rejudge(record);
  }

  #rejudge(record: RecordModel): void {
    for (const [producer, delivery] of record.deliveries) {
      const verdict = this.judge(record, producer);
      if (delivery.state === 'held' && verdict === 'pass') delivery.state = 'ready';
      else if (delivery.state === 'ready' && verdict === 'hold' && !this.paused()) this.#hold(delivery);
    }
  }

  #hold(delivery: DeliveryModel): void {
    delivery.state = 'held';
    delivery.parcel = undefined;
    delivery.heldUntil = this.day + holdDays;
  }

  expire(): void {
    for (const { deliveries } of this.records.values()) {
      for (const delivery of deliveries.values()) {
        if (delivery.state === 'held' && delivery.heldUntil <= this.day) delivery.state = 'expired';
      }
    }
  }

  // Parcels

  packing(producer: Producer): ParcelModel | undefined {
    return this.parcels.find((parcel) => parcel.producer === producer && parcel.state === 'packing');
  }

  readyOf(producer: Producer, lane: string): RecordModel[] {
    return [...this.records.values()].filter(
      ({ item, deliveries }) =>
        (item === 'image' ? 'image' : 'text') === lane && deliveries.get(producer)?.state === 'ready',
    );
  }

  /** The row the product has given, or undefined when it made none. */
  assign(producer: Producer, lane: string, row: number): void {
    const parcel: ParcelModel = { row, producer, state: 'packing', hasFile: false, hasLeftWhole: false };
    for (const record of this.readyOf(producer, lane)) {
      const delivery = record.deliveries.get(producer);
      if (delivery) Object.assign(delivery, { state: 'packed', parcel });
    }
    this.parcels.push(parcel);
  }

  contents(parcel: ParcelModel): { record: RecordModel; delivery: DeliveryModel }[] {
    return [...this.records.values()].flatMap((record) => {
      const delivery = record.deliveries.get(parcel.producer);
      return delivery?.parcel === parcel ? [{ record, delivery }] : [];
    });
  }

  publish(parcel: ParcelModel): 'published' | 'paused' | 'void' {
    if (parcel.state !== 'packing') return 'void';
    if (this.paused()) return 'paused';
    const barred = this.#barred(parcel);
    for (const { delivery } of barred) this.#hold(delivery);
    if (barred.length > 0) this.#takeBack(parcel);
    else parcel.state = 'sealed';
    return barred.length > 0 ? 'void' : 'published';
  }

  permit(parcel: ParcelModel): 'go' | 'pause' | 'void' {
    if (parcel.state !== 'sealed') return 'void';
    if (this.paused()) return 'pause';
    if (this.#barred(parcel).length === 0) return 'go';
    this.#takeBack(parcel);
    return 'void';
  }

  #barred(parcel: ParcelModel) {
    return this.contents(parcel).filter(
      ({ record, delivery }) => delivery.state === 'packed' && this.judge(record, parcel.producer) !== 'pass',
    );
  }

  #takeBack(parcel: ParcelModel): void {
    if (parcel.state === 'sealed') parcel.state = 'voiding';
    if (parcel.state === 'packing') this.#end(parcel);
  }

  #end(parcel: ParcelModel): void {
    parcel.state = 'void';
    for (const { delivery } of this.contents(parcel)) {
      if (delivery.state === 'packed') Object.assign(delivery, { state: 'ready', parcel: undefined });
    }
  }

  voided(parcel: ParcelModel, isAtomic: boolean): void {
    if (!isAtomic && parcel.hasLeftWhole) {
      for (const { record, delivery } of this.contents(parcel)) {
        if (delivery.state === 'stopped') this.#retract(record, parcel.producer, delivery);
      }
    }
    this.#end(parcel);
  }

  stored(parcel: ParcelModel): void {
    parcel.state = 'stored';
    for (const { record, delivery } of this.contents(parcel)) {
      if (delivery.state === 'stopped') this.#retract(record, parcel.producer, delivery);
      if (delivery.state === 'stopped' || delivery.state === 'packed') delivery.state = 'stored';
    }
  }

  answered(parcel: ParcelModel, status: 'opened' | 'rejected'): void {
    parcel.state = status;
    for (const { delivery } of this.contents(parcel)) {
      if (delivery.state !== 'stored') continue;
      delivery.state = status === 'rejected' && delivery.isRetracted ? 'stopped' : status;
    }
  }

  recover(): void {
    for (const parcel of this.parcels) if (parcel.state === 'packing') this.#end(parcel);
  }
}

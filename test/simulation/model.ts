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
  /** The day it was first offered. */
  readonly since: number;
  readonly deliveries: Map<Producer, DeliveryModel>;
}

export interface ParcelModel {
  readonly row: number;
  readonly pid: string;
  readonly producer: Producer;
  state: ParcelState;
  hasFile: boolean;
  isPublished: boolean;
  hasLeftWhole: boolean;
}

/** What a producer has said, and to which no restore of ours makes a difference. */
export interface Answers {
  readonly answers: readonly { readonly pid: string; readonly status: 'stored' | 'opened' | 'rejected' }[];
}

/** Everything a backup holds. */
interface Remembered {
  refreshedOn: number;
  records: Map<string, RecordModel>;
  parcels: ParcelModel[];
  /** Producer and record, each at most once. */
  retractions: string[];
  notices: { patient: string; basis: string; items: readonly Item[]; day: number }[];
  filings: { producer: Producer; items: readonly Item[]; from: number }[];
  stops: Stop[];
  family: Map<string, string>;
  /** How many receipts are settled. */
  settled: Record<Producer, number>;
  /** The day of the last restore, if there was one, and whether nobody has confirmed it yet. */
  restoredOn: number | undefined;
  isUnconfirmed: boolean;
}

interface Stop {
  readonly patient: string;
  readonly basis: StopBasis;
}

const waitingDays = 31;
const holdDays = 45;
const freshDays = 4;

const waiting: ReadonlySet<State> = new Set(['held', 'ready', 'rejected']);
const needing: ReadonlySet<State> = new Set(['held', 'ready', 'packed', 'stored', 'rejected']);

export class Model {
  day = 0;
  isClockTrusted = true;
  #state: Remembered = {
    refreshedOn: 0,
    records: new Map(),
    parcels: [],
    retractions: [],
    notices: [],
    filings: [],
    stops: [],
    family: new Map(),
    settled: { ldi: 0, anon: 0 },
    restoredOn: undefined,
    isUnconfirmed: false,
  };
  /** Outside of what is backed up, like the producers: every stop, and every withdrawal of one. */
  readonly #journal: (Stop & { readonly isStopped: boolean })[] = [];
  readonly backups: Remembered[] = [];
  readonly #farEnds: Readonly<Record<Producer, Answers>>;

  constructor(farEnds: Readonly<Record<Producer, Answers>>) {
    this.#farEnds = farEnds;
  }

  get records(): ReadonlyMap<string, RecordModel> {
    return this.#state.records;
  }

  get parcels(): readonly ParcelModel[] {
    return this.#state.parcels;
  }

  get retractions(): readonly string[] {
    return this.#state.retractions;
  }

  looked(): void {
    this.#state.refreshedOn = this.day;
  }

  // Who is who

  rootOf(patient: string): string {
    const parent = this.#state.family.get(patient);
    return parent === undefined ? patient : this.rootOf(parent);
  }

  #isKin(a: string, b: string): boolean {
    return this.rootOf(a) === this.rootOf(b);
  }

  #unite(prior: string, surviving: string): void {
    if (this.#isKin(prior, surviving)) return;
    this.#state.family.set(this.rootOf(prior), this.rootOf(surviving));
    this.#enforce(surviving);
  }

  // The law

  paused(): boolean {
    return !this.isClockTrusted || this.day - this.#state.refreshedOn > freshDays;
  }

  #mayShip(): boolean {
    return !this.paused() && !this.#state.isUnconfirmed;
  }

  isStopped(patient: string, producer: Producer): boolean {
    const covers = (basis: StopBasis) => basis === 'all' || basis === basisOf[producer];
    return this.#state.stops.some((stop) => covers(stop.basis) && this.#isKin(stop.patient, patient));
  }

  #judgeOne(patient: string, item: Item, producer: Producer): Verdict {
    if (this.isStopped(patient, producer)) return 'refuse';
    if (this.paused()) return 'hold';
    const isTold = this.#state.notices.some(
      ({ patient: who, basis, items, day }) =>
        basis === basisOf[producer] &&
        items.includes(item) &&
        day + waitingDays + 1 <= this.day &&
        this.#isKin(who, patient),
    );
    const inForce = this.#state.filings
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
    this.#state.filings.push({ producer, items, from });
    this.#state.refreshedOn = this.day;
  }

  tell(patient: string, basis: string, text: string, day: number): void {
    const items = textItems[text] ?? [];
    this.#state.notices.push({ patient, basis, items, day });
    this.#state.refreshedOn = this.day;
    for (const record of this.#recordsOf(patient)) this.#rejudge(record);
  }

  stop(patient: string, basis: StopBasis): void {
    this.#journal.push({ patient, basis, isStopped: true });
    if (this.#state.stops.some((stop) => stop.patient === patient && stop.basis === basis)) return;
    this.#state.stops.push({ patient, basis });
    this.#enforce(patient);
  }

  withdraw(patient: string, basis: StopBasis): void {
    const isEnding = (stop: Stop) => this.#isKin(stop.patient, patient) && (basis === 'all' || stop.basis === basis);
    for (const ended of this.#state.stops.filter(isEnding)) this.#journal.push({ ...ended, isStopped: false });
    this.#state.stops = this.#state.stops.filter((stop) => !isEnding(stop));
  }

  /** The last word of each, whatever was forgotten since. */
  #lastWords(): (Stop & { readonly isStopped: boolean })[] {
    return [...new Map(this.#journal.map((word) => [`${word.patient} ${word.basis}`, word])).values()];
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
    const mayHaveLeft = record.since < (this.#state.restoredOn ?? 0);
    if (waiting.has(delivery.state) || delivery.state === 'packed') {
      const wasPacked = delivery.state === 'packed';
      delivery.state = 'stopped';
      if (wasPacked && delivery.parcel) this.#takeBack(delivery.parcel);
      // It may have been delivered between the backup and the loss.
      if (mayHaveLeft) this.#retract(record, producer, delivery);
    } else if (delivery.state === 'stored' || delivery.state === 'opened') {
      this.#retract(record, producer, delivery);
    }
  }

  #retract(record: RecordModel, producer: Producer, delivery: DeliveryModel): void {
    if (delivery.isRetracted) return;
    delivery.isRetracted = true;
    this.#state.retractions.push(`${producer} ${record.key}`);
  }

  // Accept

  accept(offered: Pick<RecordModel, 'key' | 'people' | 'item'>, merge?: { prior: string; surviving: string }): string {
    if (merge) this.#unite(merge.prior, merge.surviving);
    const existing = this.records.get(offered.key);
    const record = existing ?? { ...offered, since: this.day, deliveries: new Map<Producer, DeliveryModel>() };
    const verdicts = producers.map((producer) => ({ producer, verdict: this.judge(record, producer) }));
    const open = verdicts.filter(({ verdict }) => verdict !== 'refuse');
    this.#state.records.set(offered.key, record);
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

  /** The names the product has given. */
  assign(producer: Producer, lane: string, named: { row: number; pid: string }): void {
    const begun = { hasFile: false, isPublished: false, hasLeftWhole: false };
    const parcel: ParcelModel = { ...named, producer, state: 'packing', ...begun };
    for (const record of this.readyOf(producer, lane)) {
      const delivery = record.deliveries.get(producer);
      if (delivery) Object.assign(delivery, { state: 'packed', parcel });
    }
    this.#state.parcels.push(parcel);
  }

  contents(parcel: ParcelModel): { record: RecordModel; delivery: DeliveryModel }[] {
    return [...this.records.values()].flatMap((record) => {
      const delivery = record.deliveries.get(parcel.producer);
      return delivery?.parcel === parcel ? [{ record, delivery }] : [];
    });
  }

  publish(parcel: ParcelModel): 'published' | 'paused' | 'void' {
    if (parcel.state !== 'packing') return 'void';
    if (!this.#mayShip()) return 'paused';
    const barred = this.#barred(parcel);
    for (const { delivery } of barred) this.#hold(delivery);
    if (barred.length > 0) this.#takeBack(parcel);
    else Object.assign(parcel, { state: 'sealed', isPublished: true });
    return barred.length > 0 ? 'void' : 'published';
  }

  permit(parcel: ParcelModel): 'go' | 'pause' | 'void' {
    if (parcel.state !== 'sealed') return 'void';
    if (!this.#mayShip()) return 'pause';
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

  /** The next receipt of a producer is read. Of a parcel that this state has not published it changes nothing. */
  settleNext(producer: Producer): void {
    const next = this.#farEnds[producer].answers[this.#state.settled[producer]];
    if (!next) return;
    this.#state.settled[producer]++;
    const parcel = this.parcels.find(({ pid, isPublished }) => pid === next.pid && isPublished);
    if (parcel && next.status === 'stored') this.#stored(parcel);
    else if (parcel && next.status !== 'stored') this.#answered(parcel, next.status);
  }

  hasUnread(producer: Producer): boolean {
    return this.#state.settled[producer] < this.#farEnds[producer].answers.length;
  }

  #stored(parcel: ParcelModel): void {
    parcel.state = 'stored';
    for (const { record, delivery } of this.contents(parcel)) {
      if (delivery.state === 'stopped') this.#retract(record, parcel.producer, delivery);
      if (delivery.state === 'stopped' || delivery.state === 'packed') delivery.state = 'stored';
    }
  }

  #answered(parcel: ParcelModel, status: 'opened' | 'rejected'): void {
    parcel.state = status;
    for (const { delivery } of this.contents(parcel)) {
      if (delivery.state !== 'stored') continue;
      delivery.state = status === 'rejected' && delivery.isRetracted ? 'stopped' : status;
    }
  }

  // Crashes, and worse

  recover(): void {
    for (const parcel of this.parcels) if (parcel.state === 'packing') this.#end(parcel);
  }

  backUp(): void {
    this.backups.push(structuredClone(this.#state));
  }

  /**
   * Its earlier self, with every stop made since. What was on its way is taken back, and nothing leaves until somebody
   * says so.
   */
  restore(backup: number): void {
    this.#state = structuredClone(this.backups[backup] as Remembered);
    this.#state.restoredOn = this.day;
    this.#state.isUnconfirmed = true;
    for (const parcel of this.parcels) if (parcel.state === 'sealed') parcel.state = 'voiding';
    for (const { patient, basis, isStopped } of this.#lastWords()) if (isStopped) this.stop(patient, basis);
    this.recover();
  }

  /** A person's word, or a register that was made after the restore. */
  confirm(by: 'person' | 'register'): void {
    if (by === 'register') this.looked();
    if (by === 'register' && this.day <= (this.#state.restoredOn ?? this.day)) return;
    this.#state.isUnconfirmed = false;
  }

  /** Who has said no and not taken it back, by that very name, whatever this state remembers of it. */
  hasSaidNo(patient: string, producer: Producer): boolean {
    return this.#lastWords().some(
      (word) =>
        word.isStopped && word.patient === patient && (word.basis === 'all' || word.basis === basisOf[producer]),
    );
  }
}

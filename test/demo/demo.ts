/**
 * The story of `npm run demo`: one hospital, its systems, its register and a producer, from the first message to the
 * verified ledger. What happens is real (processes, sockets, disks); this file says in which order, and tells it.
 */
import { systemClock } from '../../agent/base/clock.ts';
import type { ShipTally } from '../../agent/flow/shipping.ts';
import { ConnectorError } from '../../agent/model/errors.ts';
import { daysAgo, producerName } from '../peers/hospital/hospital.ts';
import { StubbornSender } from '../peers/hospital/stubborn-sender.ts';
import { account, type DemoResult, distinct, exitCode, keyOf, kinds, type Offered, total } from './accounting.ts';
import { basis, cast, filedCategories, mergedInto, notices, patients, registerRows, roleWords } from './cast.ts';
import { firstDay, longReport, merge, messagesOf, type PlannedMessage } from './hl7.ts';
import type { OpenedParcel, OpenedRecord } from './parcels.ts';
import { type Site, siteOverrides } from './site.ts';
import { sizeWords, type Story } from './story.ts';

/** Answered before the agent is killed, so that it is killed among messages and not before the first. */
const answeredBeforeKill = 12;

export class Demo {
  readonly #site: Site;
  readonly #story: Story;
  readonly #startedAt: number;
  /** Numbers of patients who said no after something of theirs was delivered. */
  readonly #stopped: string[] = [];
  #canaries = 0;

  constructor(site: Site, story: Story, startedAt: number) {
    this.#site = site;
    this.#story = story;
    this.#startedAt = startedAt;
  }

  async run(): Promise<DemoResult> {
    this.#tellOverrides();
    await this.#register();
    await this.#receive();
    await this.#deliver();
    await this.#stopDelivered();
    await this.#stopInUpload();
    await this.#kill();
    return this.#closeTheBooks();
  }

  #tellOverrides(): void {
    this.#story.say('');
    this.#story.say('What a real installation leaves at its default, and the demo does not:');
    const overrides = [...siteOverrides, ...this.#site.stages.flatMap((stage) => stage.overrides)];
    this.#story.table(
      ['setting', 'production', 'here', 'because'],
      overrides.map(({ key, production, demo, why }) => [key, production, demo, why]),
    );
  }

  async #register(): Promise<void> {
    const { hospital } = this.#site;
    this.#story.chapter('The register', '台帳：誰に何を通知し、誰が停止を求めたか。届け出た項目しか出ません');
    const from = daysAgo(400);
    await hospital.ask('register.filing', { producer: producerName, basis, categories: filedCategories, from });
    for (const notice of Object.values(notices)) await hospital.ask('register.notice', { basis, from, ...notice });
    await hospital.register(registerRows());
    this.#story.table(
      ['patient', 'name', 'what the register says'],
      cast.map(({ id, kanji, role }) => [id, kanji.replace('^', ' '), roleWords[role]]),
    );
  }

  async #receive(): Promise<void> {
    this.#story.chapter('What comes in', '受け取る：暗号化してディスクに確定してから、はじめて応答します');
    await this.#send(firstDay());
    await this.#send(messagesOf(patients.hoshi, 'D1').slice(0, 1));
    this.#story.say('The last one was a repetition; another names no patient.');
    await this.#site.pacs.send();
    this.#story.verdict(true, 'a modality has sent a study by C-STORE');
    await this.#pull();
    this.#site.storage.changeOvernight();
    this.#site.fhir.changeOvernight();
    await this.#send([merge()]);
    this.#story.say(`Two numbers are one patient (ADT^A40): ${patients.merged.id} is ${mergedInto.id}.`);
    await this.#pull();
    const { deliveries, quarantined } = await this.#site.hospital.status();
    const { ready, held, refused } = deliveries;
    this.#story.say(
      `In the hospital now: ${ready} may leave, ${held} held, ${refused} refused, ${quarantined} in quarantine.`,
    );
    await this.#lookForPatients();
  }

  async #deliver(): Promise<void> {
    this.#story.chapter('What leaves', '送り出す：小包は封印・署名され、事業者は公開ツールだけで開けられます');
    this.#story.say(
      'Everything held is judged again first: the merge and a late FHIR Patient have made some of it eligible.',
    );
    this.#tellShipped(await this.#site.ship());
    await this.#open();
  }

  /** Somebody whose records are with the producer says no. */
  async #stopDelivered(): Promise<void> {
    this.#story.chapter('Somebody says no', '提供停止：送付済みの記録について、署名付きの取消しを送ります');
    await this.#stop(patients.later.id);
    await this.#untilRetracted();
  }

  /** Somebody says no while a parcel with a record of theirs is on its way. */
  async #stopInUpload(): Promise<void> {
    this.#story.chapter('Somebody says no in mid-upload', '送信途中の停止：小包は破棄され、他の患者の分は出直します');
    const report = longReport(patients.mid, 'D2-REPORT', 'refused');
    await this.#send([report, ...messagesOf(patients.tsuru, 'D2')]);
    const shipping = this.#site.ship();
    const bytes = await this.#site.untilUploading();
    await this.#stop(patients.mid.id);
    this.#story.say(`${sizeWords(bytes)} of the parcel had arrived when its upload was broken off.`);
    this.#tellShipped(await shipping);
    await this.#open();
    const isThere = this.#arrived().some(({ sha256 }) => sha256 === report.sha256);
    this.#story.verdict(!isThere, 'the report of the patient who said no is in no parcel');
    await this.#untilRetracted();
  }

  /** The power goes, once, while it receives and ships. */
  async #kill(): Promise<void> {
    const { hospital } = this.#site;
    this.#story.chapter('The power goes', '停電（SIGKILL）：受け取ったものは失われず、二度送られもしません');
    await this.#send([longReport(patients.hoshi, 'D3-REPORT', 'delivered')]);
    const shipping = this.#site.ship().catch((error: unknown) => {
      if (!(error instanceof ConnectorError)) throw error;
    });
    const bytes = await this.#site.untilUploading();
    const messages = [1, 2, 3, 4].flatMap((round) => messagesOf(patients.tsuru, `D3-${round}`));
    const sender = this.#stubborn(messages);
    const sending = sender.run();
    await this.#site.until(
      'the first answers',
      async () => sender.acknowledged.length >= answeredBeforeKill || undefined,
    );
    await hospital.agent.kill();
    await shipping;
    this.#story.say(`Killed: ${sizeWords(bytes)} of a parcel sent, ${sender.acknowledged.length} messages answered.`);
    await this.#lookForPatients();
    await hospital.startAgent();
    await sending;
    this.#story.say(`Started again. The EHR repeated what was not answered: ${sender.repeated} of ${messages.length}.`);
    await this.#site.untilTrusted();
    await this.#site.ship();
    await this.#open();
  }

  async #closeTheBooks(): Promise<DemoResult> {
    const { hospital, offered } = this.#site;
    this.#story.chapter('The books', '帳簿：送ったもの、届いたもの、台帳を突き合わせます');
    await this.#lookForPatients();
    const { deliveries, quarantined } = await hospital.status();
    const ledger = await hospital.ask<{ ok: boolean; entries: number; witnessed: number }>('ledger.verify');
    const { opened, stored, held, refused, stopped, ready, packed, expired, rejected } = deliveries;
    const unsettled = ready + packed + expired + rejected;
    const result = account({
      offered,
      arrived: this.#arrived(),
      agent: { delivered: opened + stored, held, refused: refused + stopped, quarantined, unsettled },
      canaries: this.#canaries,
      retracted: { found: await this.#retractedCount(), wanted: this.#toRetract().length },
      receipts: ledger.witnessed,
      ledgerOk: ledger.ok,
      seconds: Math.round((systemClock.monotonic() - this.#startedAt) / 100) / 10,
    });
    this.#tellBooks(result, ledger.entries);
    return result;
  }

  #tellBooks(result: DemoResult, entries: number): void {
    const { offered, delivered, held, refused, quarantined, duplicate, deferred } = result;
    this.#story.table(
      ['source', 'offered', 'delivered'],
      kinds.filter((kind) => offered[kind] > 0).map((kind) => [kind, String(offered[kind]), String(delivered[kind])]),
    );
    this.#story.say(
      `${total(offered)} offered = ${total(delivered)} delivered + ${held} held + ${refused} refused + ` +
        `${quarantined} quarantined + ${duplicate} duplicate + ${deferred} deferred`,
    );
    this.#story.verdict(result.mismatched === 0, `${result.mismatched} digests or counts differ`);
    this.#story.verdict(result.leaked === 0, `${result.leaked} records or names are where they may not be`);
    this.#story.verdict(result.ledgerOk, `the ledger verifies: ${entries} entries, ${result.receipts} receipts`);
    this.#story.verdict(exitCode(result) === 0, `${result.seconds} s in all`);
  }

  async #send(messages: readonly PlannedMessage[]): Promise<void> {
    this.#site.feed.queue(messages);
    const answers = await this.#site.hospital.send(messages);
    const accepted = answers.filter(({ code }) => code === 'AA').length;
    this.#story.verdict(accepted === messages.length, `${accepted} of ${messages.length} HL7 messages answered AA`);
  }

  async #pull(): Promise<void> {
    const told = await this.#site.pull();
    this.#story.table(
      ['pulled', 'may leave', 'held', 'refused', 'quarantined', 'known'],
      told.map(([name, { outcomes }]) => {
        const { kept, held, refused, quarantined, duplicate } = outcomes;
        return [name, ...[kept, held, refused, quarantined, duplicate].map(String)];
      }),
    );
  }

  #stubborn(messages: readonly PlannedMessage[]): StubbornSender {
    this.#site.feed.queue(messages);
    const left = messages.values();
    const next = () => left.next().value;
    return new StubbornSender({ port: () => this.#site.hospital.port, next, inFlight: 4, pauseMs: 1 });
  }

  async #stop(patient: string): Promise<void> {
    this.#stopped.push(patient);
    const { voided } = await this.#site.hospital.ask<{ voided: number }>('register.stop', { patient });
    this.#story.say(`register stop --patient ${patient}: in force. Uploads broken off: ${voided}.`);
  }

  /** Waits until the producer has signed for the retraction and taken the records out. */
  async #untilRetracted(): Promise<void> {
    const wanted = this.#toRetract().length;
    await this.#site.until('the retraction', async () => {
      const { retractions } = await this.#site.hospital.status();
      return (retractions.open === 0 && (await this.#retractedCount()) === wanted) || undefined;
    });
    this.#story.verdict(true, `the producer has signed for the retraction and taken out ${wanted} records`);
  }

  /** What had been delivered of those who said no. */
  #toRetract(): Offered[] {
    return distinct(this.#site.offered).filter(
      ({ fate, patientId }) => fate === 'delivered' && this.#stopped.includes(patientId),
    );
  }

  async #retractedCount(): Promise<number> {
    const records = await this.#site.hospital.opened();
    return records.filter(({ retracted }) => retracted !== undefined).length;
  }

  async #lookForPatients(): Promise<void> {
    const found = await this.#site.canaries();
    this.#canaries += found;
    this.#story.verdict(
      found === 0,
      'no name, number or UID in the state folder, the logs, the metrics, the heartbeats',
    );
  }

  #tellShipped({ parcels, records, bytes }: ShipTally): void {
    this.#story.say(`Shipped: parcels ${parcels}, records ${records}, ${sizeWords(bytes)} encrypted.`);
  }

  /** Opens what is new with the public tools, and holds every payload against what was sent. */
  async #open(): Promise<void> {
    const opened = await this.#site.opener.openNew();
    const sent = new Set(this.#site.offered.map(keyOf));
    this.#story.say('Opened with age, zstd, tar and sha256sum:');
    this.#story.table(
      ['parcel', 'records', 'payload', 'digests as sent'],
      opened.map((parcel) => parcelRow(parcel, sent)),
    );
  }

  #arrived(): OpenedRecord[] {
    return this.#site.opener.all.flatMap(({ records }) => records);
  }
}

function parcelRow({ parcelId, records }: OpenedParcel, sent: ReadonlySet<string>): string[] {
  const bytes = records.reduce((sum, record) => sum + record.bytes, 0);
  const same = records.filter((record) => sent.has(keyOf(record))).length;
  return [parcelId.slice(0, 8), String(records.length), sizeWords(bytes), `${same} of ${records.length}`];
}

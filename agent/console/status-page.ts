/**
 * The first page: what somebody woken at 2 a.m. must know, from top to bottom. How it is, what to do, whether it may be
 * switched off; then the numbers behind it. Made from the status snapshot and nothing else. Its size is bounded by the
 * configuration: 64 sources and 16 producers, all in trouble, make less than 192 KiB.
 */
import { pullJob, shipJob } from '../app/jobs.ts';
import { deliveryStates } from '../buffer/deliveries.ts';
import {
  type Advice,
  distrustNames,
  doerNames,
  holdReasonNames,
  type PartState,
  type Status,
  stateNames,
} from '../health/index.ts';
import { dayJst } from '../base/clock.ts';
import type { Instant } from '../model/record.ts';
import { frame } from './frame.ts';
import { html, type Markup } from './html.ts';
import { stateIcon } from './icons.ts';
import { minuteJst } from './language.ts';
import type { Reader } from './reader.ts';
import { deliveryStateNames, diskStateNames, partStateNames, receiptNames, stateSentences, words } from './words.ts';

type Source = Status['sources'][number];
type Producer = Status['producers'][number];

/** One thing told: its name and its value; absent values are left out. */
type Fact = readonly [name: string, value: Markup | string | undefined];

export function statusPage(status: Status, reader: Reader): string {
  const { say } = reader;
  const main = html`${banner(status, reader)}
${todo(status, reader)}
${powerOff(status, reader)}
${sources(status, reader)}
${producers(status, reader)}
${held(status, reader)}
${records(status, reader)}
${machine(status, reader)}
<p class="note">${say(words.noPatients)}</p>`;
  return frame(reader, { title: say(stateNames[status.state]), icon: status.state, main });
}

function banner({ state, at }: Status, { language, say }: Reader): Markup {
  return html`<div class="banner state-${state}">
${stateIcon(state)}
<div><h1>${say(stateNames[state])}</h1><p>${say(stateSentences[state])}</p></div>
<p class="as-of">${time(at)}${say(words.asOf)}<br><a href="/?lang=${language}">${say(words.reload)}</a></p>
</div>`;
}

function todo({ advice }: Status, reader: Reader): Markup | undefined {
  if (advice.length === 0) return undefined;
  const { say } = reader;
  const order = advice.length > 1 ? html`<p class="hint">${say(words.urgentFirst)}</p>` : undefined;
  return section(
    'todo',
    say(words.todo),
    html`${order}<ol>${advice.map((each) => html`<li>${adviceText(each, reader)}</li>`)}</ol>`,
  );
}

function adviceText(advice: Advice, { say }: Reader): Markup {
  return html`<p>${withCode(say(advice), advice.code)}</p><p class="who">${say(words.who)}: <strong>${say(doerNames[advice.who])}</strong></p>`;
}

/** Commands between backticks, and the code of the error, as what one types and looks up. */
function withCode(sentence: string, code: string | undefined): Markup[] {
  return sentence.split(/(`[^`]+`|\b[A-Z]+(?:_[A-Z]+)+\b)/).map((part) => {
    if (part.startsWith('`')) return html`<code>${part.slice(1, -1)}</code>`;
    return part === code ? html`<code>${part}</code>` : html`${part}`;
  });
}

function powerOff({ jobs }: Status, { say }: Reader): Markup {
  const running = jobs.filter(({ running: isRunning }) => isRunning).map(({ name }) => name);
  const underway =
    running.length > 0
      ? html`${say(words.powerOffRunning)} ${running.map((name) => html`<code>${name}</code> `)}`
      : html`${say(words.powerOffIdle)}`;
  return section(
    'power-off',
    say(words.powerOff),
    html`<p class="answer">${say(words.powerOffYes)}</p>
<p>${say(words.powerOffWhy)}</p>
<p>${underway}</p>
<p>${say(words.powerOffGently)} <code>systemctl stop kakehashi</code></p>`,
  );
}

function sources(status: Status, reader: Reader): Markup {
  const { say } = reader;
  const cards = status.sources.map((source) => card(source, reader, source.kind, sourceFacts(source, status, reader)));
  return section('sources', say(words.sources), cardList(cards, say(words.noSources)));
}

function sourceFacts(source: Source, status: Status, reader: Reader): Fact[] {
  const { say } = reader;
  const { lastOkAt, port, code, queued } = source;
  return [
    [say(words.error), code && html`<code>${code}</code>`],
    [say(words.lastOk), lastOkAt === undefined ? say(words.never) : moment(lastOkAt, status.at, reader)],
    [say(words.silence), silenceText(source, reader)],
    [say(words.port), port === undefined ? undefined : String(port)],
    [say(words.waitingHere), lanes(queued, reader)],
    ...jobFacts(pullJob(source.name), status, reader),
  ];
}

function silenceText({ silence }: Source, { say, format }: Reader): string | undefined {
  if (!silence) return undefined;
  const { silentMs, usualMs } = silence;
  const usual = usualMs === undefined ? say(words.learning) : `${say(words.usual)} ${format.duration(usualMs)}`;
  return `${format.duration(silentMs)} (${usual})`;
}

function jobFacts(name: string, { jobs, at }: Status, reader: Reader): Fact[] {
  const { say, format } = reader;
  const job = jobs.find((each) => each.name === name);
  if (!job) return [];
  const next = job.nextDue === undefined ? undefined : moment(job.nextDue, at, reader);
  return [
    [say(words.nextRun), job.running ? say(words.runningNow) : next],
    [say(words.missedRuns), job.missed > 0 ? format.count(job.missed) : undefined],
  ];
}

function producers(status: Status, reader: Reader): Markup {
  const { say } = reader;
  const cards = status.producers.map((producer) =>
    card(producer, reader, undefined, producerFacts(producer, status, reader)),
  );
  return section('producers', say(words.producers), cardList(cards, say(words.noProducers)));
}

function producerFacts(
  { name, code, queued, oldestUnsentAt, lastReceipt }: Producer,
  status: Status,
  reader: Reader,
): Fact[] {
  const { say } = reader;
  return [
    [say(words.error), code && html`<code>${code}</code>`],
    [say(words.toSend), lanes(queued, reader)],
    [
      say(words.oldestUnsent),
      oldestUnsentAt === undefined ? say(words.none) : moment(oldestUnsentAt, status.at, reader),
    ],
    [say(words.lastReceipt), lastReceipt ? receiptText(lastReceipt, status.at, reader) : say(words.never)],
    ...jobFacts(shipJob(name), status, reader),
  ];
}

function receiptText(
  { status, sequence, at }: NonNullable<Producer['lastReceipt']>,
  now: Instant,
  reader: Reader,
): Markup {
  const { say, format } = reader;
  return html`${say(receiptNames[status])}, ${say(words.parcel)} ${format.count(sequence)}<br>${moment(at, now, reader)}`;
}

function held({ held: { byReason, firstUntil }, deliveries, at }: Status, reader: Reader): Markup {
  const { say, format } = reader;
  if (deliveries.held === 0) return section('held', say(words.held), html`<p>${say(words.heldNone)}</p>`);
  const reasons = Object.entries(holdReasonNames).map(([reason, name]): Fact => {
    const count = byReason[reason as keyof typeof byReason] ?? 0;
    return [say(name), count > 0 ? format.count(count) : undefined];
  });
  const first =
    firstUntil === undefined
      ? undefined
      : html`<p>${say(words.heldFirst)} <strong>${day(firstUntil)}</strong> <span class="age">(${format.age(firstUntil, at)})</span></p>`;
  return section(
    'held',
    say(words.held),
    html`<p class="figure"><strong>${format.count(deliveries.held)}</strong> ${say(words.heldPromise)}</p>
${first}
<h3>${say(words.heldWhy)}</h3>
${facts(reasons)}`,
  );
}

function records({ deliveries, quarantined, gaps, retractions }: Status, { say, format }: Reader): Markup {
  const count = (n: number) => (n === 0 ? html`<span class="zero">0</span>` : format.count(n));
  const counts: Fact[] = [
    ...deliveryStates.map((state): Fact => [say(deliveryStateNames[state]), count(deliveries[state])]),
    [say(words.quarantined), count(quarantined)],
    [say(words.gaps), count(gaps)],
    [say(words.retractions), count(retractions.open)],
  ];
  return section('records', say(words.records), facts(counts, 'tiles'));
}

function machine(status: Status, reader: Reader): Markup {
  const { say, format } = reader;
  const { backupAgeMs, ledgerHead, recentCrashes, config, version, uptimeMs, at } = status;
  return section(
    'machine',
    say(words.machine),
    facts([
      [say(words.register), registerText(status, reader)],
      [say(words.clock), clockText(status, reader)],
      ...diskFacts(status, reader),
      ...status.certificates.map(
        (certificate): Fact => [
          `${say(words.certificate)} ${certificate.name}`,
          certificateText(certificate, at, reader),
        ],
      ),
      [say(words.backup), backupAgeMs === undefined ? say(words.never) : moment(at - backupAgeMs, at, reader)],
      [say(words.ledger), ledgerHead && ledgerText(ledgerHead, reader)],
      [say(words.crashes), recentCrashes > 0 ? format.count(recentCrashes) : undefined],
      [say(words.uptime), format.duration(uptimeMs)],
      [say(words.configuration), html`<code>${config.running.slice(0, hashShown)}</code>`],
      [say(words.version), version],
    ]),
  );
}

/** Of a digest, to be read aloud on the telephone. */
const hashShown = 12;

function registerText({ register: { asOf, fresh }, at }: Status, reader: Reader): Markup | string {
  const { say } = reader;
  if (asOf === undefined) return say(words.missing);
  return html`${say(fresh ? words.fresh : words.stale)}<br>${moment(asOf, at, reader)}`;
}

function clockText({ clock: { trusted, reason, offsetMs } }: Status, { say, format }: Reader): Markup {
  const verdict = reason ? say(distrustNames[reason]) : say(trusted ? words.trusted : words.untrusted);
  if (offsetMs === undefined) return html`${verdict}`;
  return html`${verdict}<br>${filled(say(words.offset), { seconds: format.count(Math.round(offsetMs / 1_000)) })}`;
}

function diskFacts({ disk: { state, freeBytes, totalBytes, fullInMs } }: Status, { say, format }: Reader): Fact[] {
  const space = { free: format.gigabytes(freeBytes), total: format.gigabytes(totalBytes) };
  return [
    [say(words.disk), html`${say(diskStateNames[state])}<br>${filled(say(words.space), space)}`],
    [say(words.fullIn), fullInMs === undefined ? undefined : format.duration(fullInMs)],
  ];
}

function certificateText({ notAfter }: Status['certificates'][number], at: Instant, { say, format }: Reader): Markup {
  const end = html`${say(words.validUntil)} ${day(notAfter)}`;
  return notAfter <= at
    ? html`${say(words.expired)}<br>${end}`
    : html`${end} <span class="age">(${format.age(notAfter, at)})</span>`;
}

function ledgerText({ seq, hash }: NonNullable<Status['ledgerHead']>, { say, format }: Reader): Markup {
  return html`${format.count(seq)} ${say(words.entries)}<br><code>${hash.slice(0, hashShown)}</code>`;
}

function filled(sentence: string, values: Readonly<Record<string, string>>): string {
  return sentence.replaceAll(/\{(\w+)\}/g, (_, name: string) => values[name] ?? '');
}

function section(id: string, title: string, content: Markup): Markup {
  return html`<section class="${id}" aria-labelledby="${id}">
<h2 id="${id}">${title}</h2>
${content}
</section>`;
}

function cardList(cards: readonly Markup[], empty: string): Markup {
  return cards.length === 0 ? html`<p>${empty}</p>` : html`<ul class="cards">${cards}</ul>`;
}

function card(
  part: { name: string; state: PartState },
  { say }: Reader,
  kind: string | undefined,
  about: readonly Fact[],
): Markup {
  const { name, state } = part;
  return html`<li class="card part-${state}"><h3>${name}</h3>${kind === undefined ? undefined : html`<p class="kind">${kind}</p>`}<p class="pill">${say(partStateNames[state])}</p>
${facts(about)}</li>`;
}

function facts(all: readonly Fact[], kind = 'facts'): Markup {
  const told = all.filter(([, value]) => value !== undefined);
  return html`<dl class="${kind}">${told.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function lanes({ text, image }: Source['queued'], { say, format }: Reader): string {
  return `${say(words.text)} ${format.count(text)} · ${say(words.image)} ${format.count(image)}`;
}

/** A point in time, and how long ago it was. */
function moment(at: Instant, now: Instant, { format }: Reader): Markup {
  return html`${time(at)} <span class="age">(${format.age(at, now)})</span>`;
}

function time(at: Instant): Markup {
  return html`<time datetime="${new Date(at).toISOString()}">${minuteJst(at)}</time>`;
}

function day(at: Instant): Markup {
  return html`<time datetime="${dayJst(at)}">${dayJst(at)}</time>`;
}

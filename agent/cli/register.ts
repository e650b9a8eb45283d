import { resolve } from 'node:path';
import { ConnectorError } from '../model/errors.ts';
import { askAgent } from './ask.ts';
import { configOption, defineVerb, type VerbContext } from './verb.ts';

const actions = ['import', 'notice', 'filing', 'notify', 'stop', 'withdraw', 'show'] as const;
type Action = (typeof actions)[number];

export const verb = defineVerb({
  usage: `${actions.join('|')} [FILE] [options]`,
  about: `The register: what patients were told, what they asked, what was filed with the ministers.

  import FILE                                               a register file (CSV)
  notice   --version V --basis B --categories C,… --from D  a notice text patients are given
  filing   --producer P --basis B --categories C,… --from D what was filed; from D on it is the whole list
  notify   --patient ID --notice V --on D                   one patient was told
  stop     --patient ID [--basis B] [--on D]                one patient has said no; in force when it returns
  withdraw --patient ID [--basis B]                         the patient has taken it back
  show     [--patient ID] [--as-of D]                       the register as it was known on a day`,
  options: {
    config: configOption,
    version: { type: 'string', value: 'V', text: 'notice: name of the notice text' },
    basis: { type: 'string', value: 'B', text: 'article-52 or article-57; a stop without one is on all' },
    categories: { type: 'string', value: 'C,…', text: 'legal items, separated by commas' },
    from: { type: 'string', value: 'D', text: 'first day, YYYY-MM-DD' },
    producer: { type: 'string', value: 'P', text: 'filing: name of the producer in the configuration' },
    patient: { type: 'string', value: 'ID', text: 'patient number' },
    notice: { type: 'string', value: 'V', text: 'notify: the notice text the patient was given' },
    on: { type: 'string', value: 'D', text: 'the day, YYYY-MM-DD' },
    'as-of': { type: 'string', value: 'D', text: 'show: a day, YYYY-MM-DD' },
    'accept-shrink': { type: 'boolean', text: 'import: the list is right although it is much shorter than the last' },
  },
  positionals: { min: 1, max: 2 },
  run: async (values, [action = '', file], context) => {
    if (!isAction(action))
      throw new ConnectorError('USAGE', { problem: `register ${action}: expected one of ${actions.join(', ')}.` });
    if ((action === 'import') !== (file !== undefined)) {
      throw new ConnectorError('USAGE', {
        problem: action === 'import' ? 'register import needs a FILE.' : `register ${action} takes no FILE.`,
      });
    }
    const result = await askAgent(values.config, `register.${action}`, argumentsOf(action, values, file), context);
    context.terminal.result(result);
    tell(action, result as Answer, context);
    return 0;
  },
});

function isAction(text: string): text is Action {
  return (actions as readonly string[]).includes(text);
}

type Values = Parameters<typeof verb.run>[0];

/** Only what the action takes; the command says what is missing or wrong. */
function argumentsOf(action: Action, values: Values, file: string | undefined): Record<string, unknown> {
  const { version, basis, from, producer, patient, notice, on } = values;
  const categories = values.categories?.split(',').map((word) => word.trim());
  const all = {
    import: { file: file && resolve(file), acceptShrink: values['accept-shrink'] },
    notice: { version, basis, categories, from },
    filing: { producer, basis, categories, from },
    notify: { patient, notice, on },
    stop: { patient, basis, on },
    withdraw: { patient, basis },
    show: { patient, asOf: values['as-of'] },
  } satisfies Record<Action, Record<string, unknown>>;
  return Object.fromEntries(Object.entries(all[action]).filter(([, value]) => value !== undefined && value !== false));
}

/** What each action answers, as far as it is shown. */
interface Answer {
  readonly notices?: number;
  readonly stops?: number;
  readonly rejected?: number;
  readonly report?: string;
  readonly isBlocked?: boolean;
  readonly registered?: string;
  readonly isNew?: boolean;
  readonly voided?: number;
  readonly withdrawn?: number;
}

function tell(action: Action, answer: Answer, { terminal }: VerbContext): void {
  if (action === 'show') terminal.say(JSON.stringify(answer, undefined, 2));
  else if (action === 'import') tellImport(answer, terminal);
  else terminal.say(sentences[action](answer));
}

function tellImport({ notices, stops, rejected, report, isBlocked }: Answer, terminal: VerbContext['terminal']): void {
  terminal.say(`${notices} new notice(s), ${stops} new stop(s), ${rejected} row(s) rejected.`);
  if (report !== undefined) terminal.say(`Rejected rows by line number: ${report}`);
  if (isBlocked) terminal.say('Shipping is paused: a row that may be a stop could not be read. / 送出を止めています。');
}

const sentences: Readonly<Record<Exclude<Action, 'import' | 'show'>, (answer: Answer) => string>> = {
  notice: ({ registered }) => `Notice ${registered} is registered.`,
  filing: () =>
    'The filing is registered. From its first day on, its items are the whole list for this producer and basis.',
  notify: () => 'Registered.',
  stop: ({ isNew, voided }) =>
    isNew
      ? `The stop is in force: nothing of this patient leaves any more. Uploads broken off: ${voided}. / 提供停止を登録しました。`
      : 'A stop was already in force. / 提供停止は登録済みです。',
  withdraw: ({ withdrawn }) => `${withdrawn} stop(s) withdrawn.`,
};

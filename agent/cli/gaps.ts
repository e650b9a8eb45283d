import { askAgent } from './ask.ts';
import { configOption, defineVerb } from './verb.ts';

export const verb = defineVerb({
  usage: '[--config FILE]',
  about: 'What was not taken, since when, and why; most of it is fetched again by itself.',
  options: { config: configOption },
  positionals: { min: 0, max: 0 },
  run: async ({ config }, _positionals, context) => {
    const gaps = (await askAgent(config, 'gaps', {}, context)) as {
      gap: number;
      source: string;
      code: string;
      since: string;
    }[];
    context.terminal.result(gaps);
    if (gaps.length === 0) context.terminal.say('There are no gaps.');
    else
      context.terminal.table(
        ['gap', 'source', 'why', 'since'],
        gaps.map(({ gap, source, code, since }) => [String(gap), source, code, since]),
      );
    return 0;
  },
});

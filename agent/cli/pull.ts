import type { PollTally } from '../model/ports.ts';
import { askAgent } from './ask.ts';
import { configOption, defineVerb } from './verb.ts';

export const verb = defineVerb({
  usage: '[SOURCE] [--config FILE]',
  about: 'Asks a source, or every source that can be asked, for what is new, now.',
  options: { config: configOption },
  positionals: { min: 0, max: 1 },
  run: async ({ config }, [name], context) => {
    const results = (await askAgent(config, 'pull', name === undefined ? {} : { name }, context)) as Record<
      string,
      PollTally
    >;
    context.terminal.result(results);
    if (Object.keys(results).length === 0)
      context.terminal.say('No source is configured that can be asked; the others only listen.');
    for (const [source, { offered, outcomes, complete, open }] of Object.entries(results)) {
      const parts = Object.entries(outcomes).filter(([, count]) => count > 0);
      context.terminal.say(
        `${source}: ${offered} offered${parts.map(([word, count]) => `, ${count} ${word}`).join('')}`,
      );
      if (open) context.terminal.say(`${source}: ${open} not here whole; asked for again, later and later.`);
      else if (!complete) context.terminal.say(`${source}: it stopped before its end; run it again.`);
    }
    return 0;
  },
});

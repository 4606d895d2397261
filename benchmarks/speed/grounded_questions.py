"""The fixed set of questions whose answers quote a document, and stories that quote nothing."""

from __future__ import annotations

FERRY = (
    "The ferry to Norderland leaves from pier four every morning at half past seven, except on "
    "Sundays and on public holidays. Passengers with bicycles are asked to be at the pier twenty "
    "minutes before departure, because the ramp is closed early. The crossing takes two hours and "
    "ten minutes in calm weather. Tickets are sold at the harbour office and on board, where they "
    "cost two euros more."
)
CLOCK = (
    "The clock in the tower of Saint Agnes was built in 1743 by Matthias Oberlin, a locksmith who "
    "had never made a clock before. It has only one hand, which shows the hours, since minutes "
    "were of no use to the farmers of the valley. In 1891 lightning struck the tower and melted "
    "two of the five bells. The clock was repaired within a month and has been wound by hand every "
    "evening ever since."
)
LEASE = (
    "The tenant shall pay the rent of 840 euros on or before the third working day of each month. "
    "The landlord shall keep the roof, the heating and the water pipes in good repair at his own "
    "expense. Either party may end this lease by written notice of three months to the end of a "
    "quarter. Pets other than fish and small birds may be kept only with the written consent of "
    "the landlord."
)
RECIPE = (
    "Soak 300 grams of white beans in cold water over night and drain them in the morning. Fry two "
    "chopped onions and four cloves of garlic in olive oil until they are golden. Add the beans, a "
    "litre of vegetable stock, two bay leaves and a sprig of rosemary, and let the soup simmer for "
    "ninety minutes. Season with salt, pepper and the juice of half a lemon, and serve it with "
    "toasted bread."
)
REPORT = (
    "The pump at station twelve was stopped on the ninth of March after the operators had noticed "
    "an unusual noise from the main bearing. An inspection showed that the oil filter had been "
    "fitted the wrong way round, so that the bearing had run dry for about six hours. The bearing "
    "and both seals were replaced, and the pump was running again on the eleventh of March. All "
    "filters of the same type will be checked before the end of April."
)
GARDEN = (
    "Plant the bulbs of tulips in October, about fifteen centimetres deep and ten centimetres "
    "apart, with the pointed end upwards. They like a sunny place and a soil from which water "
    "drains away quickly, for wet bulbs rot during the winter. After they have bloomed, cut off "
    "the dead flowers but leave the leaves until they are yellow. The bulbs gather the strength "
    "for the next spring from them."
)
LETTER = (
    "Dear Mrs. Hollander, thank you for your order of two oak chairs and a round table, which we "
    "received on the second of June. The chairs are ready and will be sent to you by the end of "
    "this week. Unfortunately the wood for the table has arrived with cracks, and we have had to "
    "order it again. We expect to deliver the table in the first week of August and will of course "
    "charge nothing for the delivery."
)
MUSEUM = (
    "The Museum of Letters is open from Tuesday to Sunday between ten in the morning and six in "
    "the evening. Admission is nine euros, and free for visitors under eighteen and on the first "
    "Sunday of every month. Guided tours in English begin at eleven and at three in the entrance "
    "hall. Large bags and umbrellas have to be left in the lockers beside the stairs."
)

REPEAT = "Repeat the following text word for word:\n\n{document}"
REPEAT_ABOVE = "{document}\n\nRepeat the text above word for word."
FIRST_SENTENCES = (
    "Here is a document.\n\n{document}\n\n"
    "Quote the first two sentences of the document, word for word."
)
WHAT_IT_SAYS = "Read this document:\n\n{document}\n\nWhat does the document say? Quote it exactly."

QUOTING = [
    (FERRY, REPEAT),
    (CLOCK, REPEAT),
    (LEASE, FIRST_SENTENCES),
    (RECIPE, REPEAT_ABOVE),
    (REPORT, FIRST_SENTENCES),
    (GARDEN, WHAT_IT_SAYS),
    (LETTER, REPEAT),
    (MUSEUM, REPEAT_ABOVE),
]
"""Each document, and how it is asked about; such as the embedded model does answer by quoting."""

FREE = [
    "Tell me a long story about a lighthouse keeper and the sea.",
    "Tell me a long story about a baker who could not sleep.",
    "Tell me a long story about two friends who build a boat.",
]
"""Questions whose answers stand nowhere in the prompt."""

PREFERENCE = "Quote word for word, and add nothing."
STRENGTH = 1.5
"""A small model that is steered more strongly begins to put things in words of its own."""

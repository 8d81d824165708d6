"""The inspector's figures: what they are (`catalogue`), their readings (`reading`), and who asks for them."""
